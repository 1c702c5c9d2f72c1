"""Plots of the results: vector files that read on a light and on a dark page."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from . import few_pictures, from_scratch, inspection
from .accuracy import SCHEDULE
from .lines import latest, network
from .published import CIFAR10, FASHION, NSA_SCORES

# Colours of middle lightness, on no ground: on white as well as on black.
INK = "#777777"
COLORS = ("#3f86d2", "#e0802a", "#4aa36c", "#b26bc4", "#b5942a")
WHISKERS = {"ecolor": INK, "capsize": 2}
STYLE = {
    "svg.hashsalt": "skad",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def draw(plots, folder):
    """Draw each plot, a function by its name, into a folder."""
    for name, make in plots.items():
        with matplotlib.rc_context(STYLE):
            make().savefig(
                folder / f"{name}.svg", transparent=True, metadata={"Date": None, "Creator": None}
            )


LABEL = "AUROC, %; of clusters accuracy and NMI, %"


def beside(rows):
    """Bars: our figures, with intervals where there are any, and a mark where the paper's is."""
    figure = Figure(figsize=(7.5, 0.27 * len(rows) + 0.9))
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    values = [row.ours.value for row in rows]
    spreads = [row.ours.spread or np.nan for row in rows]
    axes.barh(places, values, 0.6, color=COLORS[0], xerr=spreads, label="ours", **WHISKERS)
    axes.axvline(50, color=INK, lw=0.8, ls=":", zorder=0)
    theirs = [row.published for row in rows]
    axes.plot(theirs, places, "D", color=COLORS[1], ms=5, label="published")
    axes.set_yticks(places, [row.what for row in rows])
    axes.set(xlim=(0, 100), ylim=(len(rows) - 0.4, -1.6), xlabel=LABEL)
    axes.legend(loc="upper left", ncols=2, fontsize=9)
    return figure


def distance(line):
    """How a detector of ``results.jsonl`` compares features."""
    params = line["params"]
    default = "cosine"
    if line["detector"] == "PANDA" and params.get("loss", "squared") == "squared":
        default = "euclidean"
    if line["detector"] == "DN2" and line["network"] == "default":
        default = "mahalanobis_cosine"
    return params.get("metric", default)


def gains(lines, data):
    """Points that trainings gain on DN2 by the same distance, class by class."""
    lines = [line for line in latest(lines) if _is_gain(line, data)]
    frozen = {_alike(line): line for line in lines if line["detector"] == "DN2"}
    trained = [line for line in lines if line["detector"] in ("PANDA", "MSC")]
    trained = [line for line in trained if _alike(line) in frozen]
    trained.sort(key=lambda line: (line["network"], line["detector"], str(line["params"])))
    classes = list(trained[0]["auroc"])
    table = np.array([_gain(line, frozen[_alike(line)]) for line in trained])
    figure = Figure(figsize=(8, 0.36 * len(trained) + 1.4))
    axes = figure.add_subplot()
    axes.imshow(table, cmap="RdBu", vmin=-6, vmax=6, aspect="auto")
    for (row, column), gain in np.ndenumerate(table):
        ink = "white" if abs(gain) > 3.5 else "black"
        text = f"{round(gain, 1) + 0.0:+.1f}"
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    axes.set_title(data)
    axes.axvline(0.5, color=INK)
    axes.set_xticks(range(table.shape[1]), ["mean", *classes], rotation=30, ha="right")
    axes.set_yticks(range(len(trained)), [_short(line) for line in trained])
    axes.spines[:].set_visible(False)
    return figure


def _alike(line):
    return line["network"], distance(line)


def _is_gain(line, data):
    if "detector" not in line or line.get("pollution"):
        return False
    kind = line["data"], line["protocol"], line["n_train"], len(line["auroc"])
    return kind == (data, "one_vs_rest", 500, 10)


def _gain(line, frozen):
    found = [area - frozen["auroc"][name] for name, area in line["auroc"].items()]
    return [np.mean(found), *found]


def _short(line):
    """A training in a few words."""
    params = {k: v for k, v in line["params"].items() if k not in (*SCHEDULE, "collapse_limit")}
    words = [str(v) if isinstance(v, str) else k for k, v in params.items()]
    net = network(line["network"]).split(",")[0]
    return ", ".join([f"{line['detector']} ({net})", *words]).replace("_", " ")


def scores(lines):
    """Bars of NSA's scores: plain and normalised, with deviations from seed to seed."""
    figure = Figure(figsize=(7, 5))
    grid = figure.subplots(2, 2, sharey=True, sharex=True)
    panels = [(data, share) for data in ("fashion_mnist", "cifar10") for share in (0.0, 0.1)]
    for axes, (data, share) in zip(grid.flat, panels):
        for i, normalize in enumerate((False, True)):
            found = from_scratch.simsiam(lines, data, share, normalize, 3)
            mean, spread = zip(*(found[score] for score in NSA_SCORES))
            spread = [value or np.nan for value in spread]
            label = "normalised" if normalize else "plain"
            places = np.arange(len(mean)) + 0.38 * (i - 0.5)
            axes.bar(places, mean, 0.36, yerr=spread, color=COLORS[i], label=label, **WHISKERS)
        name = {"fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}[data]
        how = f"{share:.0%} polluted" if share else "clean"
        axes.set_title(f"{name}, {how}")
        axes.set_xticks(range(len(NSA_SCORES)), NSA_SCORES, rotation=30, ha="right")
        axes.set_ylim(0, 100)
        axes.axhline(50, color=INK, lw=0.8, ls=":", zorder=0)
    for axes in grid[:, 0]:
        axes.set_ylabel("AUROC, %")
    grid[0, 1].legend(ncols=2, fontsize=9)
    return figure


def speed(lines):
    """Images a second against image AUROC: a panel a set, a colour a detector, a mark a network."""
    sets = inspection.by_set(lines)
    detectors = sorted({line["detector"] for some in sets.values() for line in some})
    networks = sorted({line["network"] for some in sets.values() for line in some})
    figure = Figure(figsize=(7.5, 4))
    row = figure.subplots(1, len(sets), squeeze=False)[0]
    for axes, (data, some) in zip(row, sets.items()):
        for line in some:
            color = COLORS[detectors.index(line["detector"])]
            mark = "osD^v"[networks.index(line["network"])]
            point = line["images_a_second"], line["found"]["image AUROC"]
            axes.plot(*point, mark, color=color, ms=7, alpha=0.85)
        axes.set(xscale="log", title=inspection.TITLES[data], xlabel="images a second")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    row[0].set_ylabel("image AUROC, %")
    marks = [_mark(name, "o", COLORS[i]) for i, name in enumerate(detectors)]
    marks += [_mark(name, "osD^v"[i], INK) for i, name in enumerate(networks)]
    figure.legend(handles=marks, loc="outside lower center", ncols=4, fontsize=9)
    return figure


def _mark(name, mark, color):
    return Line2D([], [], ls="", marker=mark, color=color, label=name)


def few(lines):
    """Means of the sets by the number of pictures, and by the share of anomalies."""
    clean, polluted, _ = few_pictures.split(lines)
    figure = Figure(figsize=(7.5, 3.2))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, some, factor in ((left, clean, 1), (right, polluted, 100)):
        values, _, _ = few_pictures.axes(some)
        for i, (name, areas) in enumerate(few_pictures.means(some).items()):
            marks = {"color": COLORS[i], "marker": "osD"[i], "ls": ("-", "--", ":")[i]}
            axes.plot(factor * np.array(values), areas, label=name, **marks)
    left.set(xscale="log", xlabel="pictures to learn from", ylabel="AUROC, %, mean of the sets")
    left.set_xticks(few_pictures.axes(clean)[0], few_pictures.axes(clean)[0])
    left.minorticks_off()
    right.set(xlabel="anomalies among them, %")
    left.legend(fontsize=9)
    return figure


def plots(lines, rows):
    """All plots, by name; `lines` by the file they are of, `rows` those of the summary."""
    return {
        "beside": lambda: beside(rows),
        "gain_cifar10": lambda: gains(lines["results"], CIFAR10),
        "gain_fashion_mnist": lambda: gains(lines["results"], FASHION),
        "from_scratch": lambda: scores(lines["from_scratch"]),
        "speed_accuracy": lambda: speed(lines["localization"]),
        "few_pictures": lambda: few(lines["few_pictures"]),
    }

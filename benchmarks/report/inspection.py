"""Tables of ``benchmarks/localization.jsonl``: detectors by set and network; beside anomalib."""

from ..inspection_data import TITLES
from .rst import folded, page, plot, table, title

INTRODUCTION = """\
From ``benchmarks/localization.py``. Sound pictures to learn from; others, sound and with defects,
to test on, evenly spaced where there are fewer than the set has. AUROC and the others in percent;
"lowest pixel" is the AUROC of images by the lowest value of their maps, "memory" what the process
grew by at its peak while it was fitted, in MiB, network included. Two threads on two cores. DN2
compares by cosine here.
"""

SETTINGS = """\
Settings were chosen on 250 / 300 magnetic tiles of another draw (seed 1) and on 100 / 100 boards
with a network half trained. On the cells, which have one split, several settings were tried on
the pictures that are reported, so that the best of their rows is a little too good. The boards
are tested on every other picture; their masks are boxes, wider than the defects.

What was aimed at: cells 96 (reached: 95.5 with the embedded network, and 96.0 with EfficientNet-
lite0 at 224 pixels, below); tiles 88 pixel AUROC and 82 PRO (87.3, and 76.4 by another detector);
boards 94 pixel AUROC (93.1, or 91 with 97 of images) and 80 image AUROC (92), fitted in 90
seconds (42, 31). Rows of SPADE, and those of boards with 1 % of the patches, MobileNetV2 or
PaDiM, were taken beside other work, so that their times are too long. Masks of ``PatchCore`` at
its own threshold are too wide, as its patches are those of the training pictures; see
:doc:`conformal`.
"""

FOUND = {
    "image AUROC": "image AUROC",
    "lowest pixel": "image AUROC by the lowest pixel",
    "pixel AUROC": "pixel AUROC",
    "pixel AP": "pixel AP",
    "PRO": "PRO",
}
COSTS = {
    "fit, seconds": "fit_seconds",
    "memory": "fit_memory",
    "images a second": "images_a_second",
    "maps a second": "maps_a_second",
}

BESIDE = "PatchCore beside anomalib's"

BESIDE_INTRODUCTION = """\
From ``benchmarks/beside_anomalib.py``: the same solar cells, EfficientNet-lite0, layers, share of
patches and number of threads, each side in a process of its own, one after the other. anomalib's
model is called without its engine. Ratios are of skad to anomalib.
"""


def inspection(lines, beside):
    """The page: one section for each set, and anomalib."""
    parts = [INTRODUCTION, plot("speed_accuracy.svg", "Images a second against image AUROC")]
    parts += [folded("How settings were chosen, and what was aimed at", SETTINGS)]
    parts += [*tables(lines), *beside_anomalib(beside)]
    return page("Inspection", *parts, notes=["tiles"])


def tables(lines):
    """One table for each set, of the runs that say which detector they are of."""
    for data, some in by_set(lines).items():
        rows = [_row(line) for line in sorted(some, key=_order)]
        header = ["detector", "network", "train / test", *FOUND, *COSTS]
        yield title(f"{TITLES[data][0].upper()}{TITLES[data][1:]}")
        yield table(header, rows)


def by_set(lines):
    """The lines of each set that say which detector they are of."""
    lines = [line for line in lines if "detector" in line]
    found = {data: [line for line in lines if line["data"] == data] for data in TITLES}
    return {data: some for data, some in found.items() if some}


def _order(line):
    return line["network"], line["image_size"], line["detector"], str(line["settings"])


def _row(line):
    settings = ", ".join(f"{name}={value!r}" for name, value in line["settings"].items())
    name = f"``{line['detector']}({settings})``"
    if line["adapter"]:
        name += f", adapted by {line['adapter']}"
    if line["seed"]:
        name += f", seed {line['seed']}"
    network = f"{line['network']}, {line['image_size']} px"
    figures = [_figure(line["found"].get(key)) for key in FOUND.values()]
    costs = [_figure(line.get(key)) for key in COSTS.values()]
    return [name, network, f"{line['n_train']} / {line['n_tested']}", *figures, *costs]


def _figure(value):
    return "" if value is None else f"{value:.1f}"


def beside_anomalib(lines):
    """Both sides, and their ratios."""
    if not lines:
        return []
    header = ["run", "side", "image AUROC", *COSTS]
    rows = []
    for line in lines:
        run = f"{line['network']}, {line['image_size']} px, {100 * line['share']:g}% of patches"
        run += f", {line['n_train']} / {line['n_tested']} cells, {line['threads']} thread"
        run += "s" * (line["threads"] > 1)
        for side in ("skad", "anomalib"):
            costs = [_figure(line[side][key]) for key in COSTS.values()]
            rows.append([run, side, f"{line[side]['image_auroc']:.2f}", *costs])
        costs = [f"{line['ratio'][key]:.2f}" for key in COSTS.values()]
        rows.append([run, "ratio", f"{line['ratio']['image_auroc']:+.2f}", *costs])
    return [title(BESIDE), BESIDE_INTRODUCTION, table(header, rows)]

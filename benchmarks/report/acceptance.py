"""Tables of ``benchmarks/acceptance.jsonl``: trainings that are kept if they gain."""

import statistics

from scipy.stats import spearmanr

from ..accuracy import TITLES
from ..inspection_data import TITLES as INSPECTED
from .rst import folded, page, table

INTRODUCTION = """\
With ``accept="if_better"`` a training is kept only where it tells made anomalies better than the
frozen network does. AUROC in percent of the frozen network, of the one at the end of a training
("always") and of the one that the criterion keeps of the same training ("if_better"); the scorer
has all pictures, the training four fifths of them. "kept at": step, 0 for the frozen one. "rho":
Spearman's correlation of the criterion, which sees no label, with the true AUROC over the looks
of the training. Settings of the criterion were chosen on the sets of the first table, and
reported on those of the second; that anomalies are changes of whole pictures was chosen with the
figures of cells and tiles in view. Most lines are of scores that a training kept, with fewer
anomalies than the package makes. Deep clustering has ten clusters of k-means on frozen features,
300 pictures of each of nine classes, and one epoch of the last two stages: at 1e-3 on "tiny", at
2e-4 on MobileNetV2.
"""

ROLES = {
    "fixing": "Sets that settings were chosen on",
    "reporting": "Other sets",
    "many": "Deep clustering, all classes but one normal (reported)",
}


def acceptance(lines):
    """Summaries, then every run."""
    parts = [INTRODUCTION]
    latest = {
        tuple(line[name] for name in ("network", "method", "data", "name", "seed")): line
        for line in lines
    }
    for role, title in ROLES.items():
        chosen = {key: line for key, line in latest.items() if line["role"] == role}
        if chosen:
            parts.append(_summary(chosen, title))
    rows = [_row(line) for _, line in sorted(latest.items())]
    header = ["network", "method", "normal", "frozen", "always", "if_better", "kept at", "rho"]
    parts.append(folded("Every training", table(header, rows)))
    return page("Trainings that have to prove themselves", *parts, notes=["trainings"])


def _summary(lines, name):
    rows, kinds = [], {}
    for (network, method, *_), line in sorted(lines.items()):
        kinds.setdefault((network, method), []).append(line)
    for (network, method), group in [*kinds.items(), (("all", ""), [*lines.values()])]:
        always, chosen = ([line[k] - line["frozen"] for line in group] for k in KEPT)
        gains = [gain for gain, line in zip(chosen, group) if line["acceptance"]["accepted"]]
        rhos = [rho for line in group if (rho := correlation(line)) is not None]
        rows.append(
            [
                *(network, method or "all", len(group)),
                *(f"{statistics.mean(always):+.2f}", f"{min(always):+.2f}"),
                *(f"{statistics.mean(chosen):+.2f}", f"{min(chosen):+.2f}"),
                *(len(gains), f"{statistics.mean(gains):+.2f}" if gains else "n/a"),
                f"{statistics.median(rhos):.2f}" if rhos else "n/a",
            ]
        )
    header = ["network", "method", "trainings", "always: mean", "worst", "if_better: mean"]
    header += ["worst", "accepted", "gain of those", "median rho"]
    return table(header, rows, name)


KEPT = ("always", "if_better")


def _row(line):
    title = (TITLES | INSPECTED).get(line["data"], line["data"])
    normal = title if line["name"] == "sound" else f"{title}: {line['name']}"
    rho = correlation(line)
    return [
        *(line["network"], line["method"], normal),
        *(f"{line[name]:.2f}" for name in ("frozen", *KEPT)),
        line["acceptance"]["step"],
        "n/a" if rho is None else f"{rho:.2f}",
    ]


def correlation(line):
    """Spearman's, of criterion and true AUROC along a training; None where one never changes.

    Two values of the criterion are no path either: averaged weights are judged at the end alone.
    """
    if len(set(line["curve"]["synthetic_auroc"])) < 3:
        return None
    found = spearmanr(line["curve"]["synthetic_auroc"], line["curve"]["auroc"]).statistic
    return float(found) if found == found else None

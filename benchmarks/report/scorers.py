"""Tables of ``benchmarks/results.jsonl``: every scorer on the same features."""

from .lines import latest, network
from .rst import page, table, title

INTRODUCTION = """\
Features are computed once, and each scorer learns what is normal of them: one class against the
rest, all images, AUROC in percent. The scorers of scikit-learn are at their defaults, on 1 280
values of MobileNetV2.
"""


def scorers(lines):
    """One section for each set and network."""
    parts, groups = [INTRODUCTION], {}
    for line in latest([line for line in lines if "scorer" in line]):
        groups.setdefault((line["data"], line["network"]), []).append(line)
    for (data, name), group in groups.items():
        classes = list(group[0]["auroc"])
        rows = [
            [f"``{line['scorer']}``", f"{line['mean']:.2f}"]
            + [f"{line['auroc'][name]:.1f}" for name in classes]
            for line in group
        ]
        parts += [title(f"{data}, {network(name)}"), table(["scorer", "mean", *classes], rows)]
    return page("Scorers on the same features", *parts, notes=["scorers"])

"""The first page: what the figures say, ours beside the published ones, and where to read on."""

import re

from .rst import mean_and_spread, page, plot, table, title, toctree

INTRODUCTION = """\
What is measured here, beside what the papers publish. Area under the ROC curve (AUROC) in
percent; anomalies are the positive class. "tiny" is the network that comes with the package: 3.7
million parameters, pictures of 64 pixels. CIFAR-10 is a copy that went through JPEG.
"""

BESIDE = """\
Everything here ran on two cores without a graphics card, with far smaller networks, pictures and
training sets than the papers'; where they begin with a trained network, theirs is a ResNet-152 at
224 pixels. So most figures are below the published ones: the gap says by how much, and the last
column why, as far as that is known. Behind ±: the standard deviation from seed to seed.
"""

PLOTTED = """\
The same but for anomalib's; dots are chance:
"""

ALT = "Bars of our figures, with a mark where the published figure is"


def summary(sections, findings, pages, versions):
    """The page; `pages` are the names of those to go on to."""
    parts = [INTRODUCTION, findings, title("Ours beside published"), BESIDE]
    for section in sections:
        parts.append(_table(section))
        parts.append(f"More: :doc:`results/{section.page}`.\n")
    parts += [PLOTTED, plot("results/beside.svg", ALT)]
    parts += [title("All figures"), toctree(*(f"results/{name}" for name in pages))]
    stamp = ", ".join(f"{name} {number}" for name, number in versions.items())
    parts.append(f"Measured with {stamp}.\n")
    return page("Results", *parts)


def _table(section):
    measured = section.other != "published"
    rows = [
        [
            row.what,
            mean_and_spread(row.ours.value, row.ours.spread, row.ours.digits),
            f"{row.published:.{row.ours.digits if measured else 1}f}",
            f"{row.ours.value - row.published:+.{row.ours.digits}f}",
            whole(f"*{row.ours.how}.* {row.why}"),
        ]
        for row in section.rows
    ]
    header = ["what", "ours", section.other, "gap", "ours on, and why they differ"]
    return table(header, rows, section.name, "prose")


def whole(text):
    """Numbers of groups of digits, which no line breaks."""
    return re.sub(r"(?<=\d) (?=\d{3}\b)", "\N{NO-BREAK SPACE}", text)

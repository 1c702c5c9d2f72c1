"""The first page: our figures beside the published ones, what they say, and where to read on."""

from .rst import mean_and_spread, page, plot, table, title

INTRODUCTION = """\
What is measured here, beside what the papers publish. Area under the ROC curve (AUROC) in
percent; anomalies are the positive class. Everything ran on two cores without a graphics card,
with far smaller networks, pictures and training sets than the papers', so most figures are below
theirs: the gap says by how much, and the last column why, as far as that is known. Behind ±: the
standard deviation from seed to seed, where there was more than one.

"tiny" is the network that comes with the package: 3.7 million parameters, pictures of 64 pixels.
The papers' is a ResNet-152 at 224 pixels. CIFAR-10 is a copy that went through JPEG.
"""

ALT = "Bars of our figures, with a mark where the published figure is"


def summary(sections, findings, pages, notes, versions):
    """The page; `pages` and `notes` are the names of those to go on to."""
    parts = [INTRODUCTION, title("Ours beside published")]
    for section in sections:
        parts.append(_table(section))
        parts.append(f"More: :doc:`results/{section.page}`.\n")
    parts += [plot("results/beside.svg", ALT), findings]
    parts += [title("All figures"), _toctree("results", pages)]
    parts += [title("Notes"), NOTES, _toctree("results/notes", notes)]
    stamp = ", ".join(f"{name} {number}" for name, number in versions.items())
    parts.append(f"Measured with {stamp}.\n")
    return page("Results", *parts)


NOTES = """\
How each figure came about: settings, what they were chosen on, what else was tried, what was not
run.
"""


def _table(section):
    rows = [
        [
            row.what,
            mean_and_spread(row.ours.value, row.ours.spread, row.ours.digits),
            f"{row.published:.{row.ours.digits if section.other != 'published' else 1}f}",
            f"{row.ours.value - row.published:+.{row.ours.digits}f}",
            row.ours.how,
            row.why,
        ]
        for row in section.rows
    ]
    return table(["what", "ours", section.other, "gap", "ours on", "why"], rows, section.name)


def _toctree(folder, names):
    lines = [".. toctree::", "   :maxdepth: 1", "", *(f"   {folder}/{name}" for name in names), ""]
    return "\n".join(lines)

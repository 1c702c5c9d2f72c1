"""Tables of ``benchmarks/few_pictures.jsonl``: by number of pictures, by pollution."""

import numpy as np

from .choosing import TITLES
from .rst import page, plot, table, title


def few_pictures(lines):
    """One table by number of pictures, one by share of anomalies among them."""
    clean, polluted, most = split(lines)
    text = (
        '"tiny", ``DN2``; AUROC in percent, mean over classes and two draws. '
        f"{most} pictures where there are so many (white blood cells 13 to 105). Anomalies that "
        "join the training pictures are left out of the test.\n"
    )
    alt = "AUROC by the number of pictures and by the share of anomalies, mean of the sets"
    parts = [text, plot("few_pictures.svg", alt), title("By the number of pictures")]
    parts += [_table("pictures", clean, "{}"), title("By the share of anomalies among them")]
    parts.append(_table("anomalies", polluted, "{:.0%}"))
    return page("Few pictures, and polluted ones", *parts, notes=["choosing", "features"])


def split(lines):
    """By set and number of pictures; by set and share of anomalies; the largest number."""
    latest = {(line["data"], line["n_train"], line["pollution"]): line for line in lines}
    clean = {key[:2]: line for key, line in latest.items() if key[2] == 0}
    most = max(n for _, n in clean)
    polluted = {(key[0], key[2]): line for key, line in latest.items() if key[1] == most}
    return clean, polluted, most


def axes(lines):
    """Values, parameters and sets that lines are of."""
    values = sorted({value for _, value in lines})
    parameters = list(next(iter(lines.values()))["auroc"])
    return values, parameters, [name for name in TITLES if any(name == key[0] for key in lines)]


def means(lines):
    """By parameters: the mean of the sets at each value."""
    values, parameters, sets = axes(lines)
    return {
        p: [float(np.mean([lines[name, v]["auroc"][p] for name in sets])) for v in values]
        for p in parameters
    }


def _table(what, lines, form):
    """A row for each set and parameters, a column for each value."""
    values, parameters, sets = axes(lines)
    head = ["set", "parameters", *(f"{form.format(value)} {what}" for value in values)]
    rows = []
    for name in sets:
        for p in parameters:
            areas = [lines[name, value]["auroc"][p] for value in values]
            rows.append([TITLES[name], f"``{p}``", *(f"{area:.1f}" for area in areas)])
    for p, areas in means(lines).items():
        rows.append(["mean of sets", f"``{p}``", *(f"{area:.1f}" for area in areas)])
    return table(head, rows)

"""Tables of ``doc/results.rst`` from the lines of ``benchmarks/few_pictures.jsonl``."""

import numpy as np

from .report_choosing import TITLES


def few_pictures(lines, table):
    """One table by number of pictures, one by share of anomalies among them."""
    if not lines:
        return ""
    latest = {(line["data"], line["n_train"], line["pollution"]): line for line in lines}
    clean = {key[:2]: line for key, line in latest.items() if key[2] == 0}
    most = max(n for _, n in clean)
    polluted = {(key[0], key[2]): line for key, line in latest.items() if key[1] == most}
    title = "Few pictures, and polluted ones"
    text = (
        f'"tiny", DN2; AUROC in percent, mean over classes and two draws. {most} pictures where '
        "there are so many (white blood cells 13 to 105). Anomalies that join the training "
        "pictures are left out of the test."
    )
    parts = [f"{title}\n{'-' * len(title)}\n\n{text}\n"]
    parts += [_table("pictures", clean, "{}", table), _table("share", polluted, "{:.0%}", table)]
    return "\n".join(parts)


def _table(what, lines, form, table):
    """A row for each set and parameters, a column for each value."""
    values = sorted({value for _, value in lines})
    parameters = list(next(iter(lines.values()))["auroc"])
    head = ["set", "parameters", *(f"{form.format(value)} {what}" for value in values)]
    rows = []
    sets = [name for name in TITLES if any(name == key[0] for key in lines)]
    for name in sets:
        for p in parameters:
            areas = [lines[name, value]["auroc"][p] for value in values]
            rows.append([TITLES[name], p, *(f"{area:.1f}" for area in areas)])
    for p in parameters:
        areas = [np.mean([lines[n, v]["auroc"][p] for n in sets]) for v in values]
        rows.append(["mean of sets", p, *(f"{area:.1f}" for area in areas)])
    return table(head, rows)

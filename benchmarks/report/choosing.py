"""Tables of ``benchmarks/choosing.jsonl``: a detector chosen without labels."""

import numpy as np
from scipy.stats import spearmanr

from .rst import page, table, title

TITLES = {
    "cifar10": "CIFAR-10",
    "mnist": "MNIST",
    "tiles": "magnetic tiles",
    "fashion_mnist": "Fashion-MNIST",
    "cells": "solar cells",
    "wbc": "white blood cells",
    "pcb": "circuit boards",
}
INTRODUCTION = """\
``AutoDetector`` makes anomalies of normal pictures, and takes the candidate that tells these
best, if it is surely better than ``DN2()``. AUROC in percent on real anomalies: of ``DN2()``, of
the candidate that is first on made anomalies, of ``AutoDetector``, and of the candidate that is
best in hindsight; regret: what is lost against that one. What the anomalies are made of, and by how
much another must be better, was fixed on CIFAR-10, MNIST and magnetic tiles; the others are
reported. Rank correlation: Spearman's, of the AUROC on made and on real anomalies over candidates.
Minutes are those of one core beside other work.
"""

FIXED_ON = ("cifar10", "mnist", "tiles")

# Normal pictures of a task; the tasks of more have a table of their own.
FEW = 300


def choosing(lines):
    """One section for each preset."""
    sections = [INTRODUCTION]
    fast, thorough = ([one for one in lines if one["preset"] == p] for p in ("fast", "thorough"))
    for preset, own in (("fast", fast), ("thorough", thorough)):
        few = [line for line in own if line["n_train"] <= FEW]
        more = [line for line in own if line["n_train"] > FEW]
        if few:
            sections += [title(f'AutoDetector("{preset}")'), _of_preset(few)]
        if more:
            sections += [title(f'AutoDetector("{preset}"), more pictures'), _of_preset(more)]
    if thorough:
        sections += [title("Both, on the same tasks"), _both(fast, thorough)]
    return page("Choosing without labels", *sections, notes=["choosing"])


def _of_preset(lines):
    rows = []
    for name, name_of_set in TITLES.items():
        own = [line for line in lines if line["data"] == name]
        if own:
            figures = np.array([_figures(line) for line in own]).mean(axis=0)
            note = "" if name in FIXED_ON else " (reported)"
            rows.append([f"{name_of_set}{note}", len(own), *_cells(figures)])
    every = [[_figures(line) for line in lines if line["data"] == name] for name in TITLES]
    mean = np.mean([np.mean(of_set, axis=0) for of_set in every if of_set], axis=0)
    rows.append(["mean of sets", "", *_cells(mean)])
    head = ["set", "tasks", "DN2()", "made anomalies' first", "AutoDetector", "best in hindsight"]
    head += ["regret of the first", "regret", "rank correlation", "minutes"]
    n = sorted({line["n_train"] for line in lines})
    few = f", of some classes as few as {n[0]}" if len(n) > 1 else ""
    text = f"{n[-1]} normal pictures{' at the most' * (len(n) > 1)}{few}"
    text += '; "tiny" and "tiny-dense", seed 0.'
    return f"{text}\n\n{table(head, rows)}"


def _both(fast, thorough):
    """What more candidates, and trained ones, add to those of "fast"."""
    known = {(line["data"], line["task"], line["n_train"]): line for line in fast}
    rows = []
    for name, name_of_set in TITLES.items():
        pairs = [
            (known[key], line)
            for line in thorough
            if line["data"] == name and (key := (name, line["task"], line["n_train"])) in known
        ]
        if pairs:
            found = [(_figures(a), _figures(b)) for a, b in pairs]
            dn2, *others = np.mean(
                [(a[0], a[2], b[2], a[3], b[3], a[-1], b[-1]) for a, b in found], axis=0
            )
            taken = dict.fromkeys(one for _, line in pairs for one in line["taken"])
            cells = [f"{dn2:.1f}", *(f"{other:.1f}" for other in others)]
            rows.append([name_of_set, len(pairs), *cells, "; ".join(taken)])
    head = ["set", "tasks", "DN2()", "fast", "thorough", "best of fast", "best of thorough"]
    return table([*head, "minutes of fast", "of thorough", "what thorough took"], rows)


def _cells(figures):
    *areas, rho, minutes = figures
    return [*(f"{area:.1f}" for area in areas), f"{rho:.2f}", f"{minutes:.1f}"]


def _figures(line):
    true, judged = np.array(list(line["candidates"].values()), dtype=float).T
    known = ~np.isnan(judged)
    first, best = true[known][judged[known].argmax()], true.max()
    rho = spearmanr(true[known], judged[known])[0]
    auto = line["auto"]
    return true[0], first, auto, best, best - first, best - auto, rho, line["minutes"]

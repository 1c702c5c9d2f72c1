"""Tables of ``doc/results.rst`` from the lines of ``benchmarks/choosing.jsonl``."""

import numpy as np
from scipy.stats import spearmanr

TITLES = {
    "cifar10": "CIFAR-10",
    "mnist": "MNIST",
    "tiles": "magnetic tiles",
    "fashion_mnist": "Fashion-MNIST",
    "cells": "solar cells",
    "wbc": "white blood cells",
    "pcb": "circuit boards",
}
FIXED_ON = ("cifar10", "mnist", "tiles")


def choosing(lines, table):
    """One table for each preset; `table` makes one of a header and rows."""
    sections = []
    for preset in ("fast", "thorough"):
        own = [line for line in lines if line["preset"] == preset]
        if own:
            sections.append(_of_preset(preset, own, table))
    return "\n".join(sections)


def _of_preset(preset, lines, table):
    rows = []
    for name, title in TITLES.items():
        own = [line for line in lines if line["data"] == name]
        if own:
            figures = np.array([_figures(line) for line in own]).mean(axis=0)
            note = "" if name in FIXED_ON else " (reported)"
            rows.append([f"{title}{note}", str(len(own)), *(f"{f:.1f}" for f in figures[:-2])])
            rows[-1] += [f"{figures[-2]:.2f}", f"{figures[-1]:.1f}"]
    every = [[_figures(line) for line in lines if line["data"] == name] for name in TITLES]
    mean = np.mean([np.mean(of_set, axis=0) for of_set in every if of_set], axis=0)
    rows.append(["mean of sets", "", *(f"{f:.1f}" for f in mean[:-2])])
    rows[-1] += [f"{mean[-2]:.2f}", f"{mean[-1]:.1f}"]
    head = ["set", "tasks", "DN2()", "made anomalies' first", "AutoDetector", "best in hindsight"]
    head += ["regret of the first", "rank correlation", "minutes"]
    n = sorted({line["n_train"] for line in lines})
    text = (
        f"{n[-1]} normal pictures at the most (white blood cells {n[0]} and more), 'tiny' and "
        "'tiny-dense', seed 0. What the anomalies are made of was fixed on CIFAR-10, MNIST and "
        "magnetic tiles; the others are reported. Rank correlation: Spearman's, of the AUROC on "
        "made and on real anomalies over candidates."
    )
    title = f'Choosing without labels: AutoDetector("{preset}")'
    return f"{title}\n{'-' * len(title)}\n\n{text}\n\n{table(head, rows)}"


def _figures(line):
    true, judged = np.array(list(line["candidates"].values()), dtype=float).T
    known = ~np.isnan(judged)
    first, best = true[known][judged[known].argmax()], true.max()
    rho = spearmanr(true[known], judged[known])[0]
    return true[0], first, line["auto"], best, best - first, rho, line["minutes"]

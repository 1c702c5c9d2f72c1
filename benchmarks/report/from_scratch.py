"""Tables of ``benchmarks/from_scratch.jsonl``: trainings that begin with random weights."""

import json
import statistics

from ..accuracy import TITLES
from .published import NSA, NSA_SCORES, NSA_SMALL_BATCHES
from .rst import folded, mean_and_spread, page, plot, table, title

INTRODUCTION = f"""\
NSA's ablation in a reduced protocol: SimSiam and others on the first 500 images of a class, a
network of four convolutions, then every score of the same network. AUROC in percent, means over
classes and seeds. "(n)" has its features normalised, "(-)" takes rotations as negatives; "Ens."
is the paper's ensemble, "sum" the plain sum of the scores. Behind ±: the standard deviation of
the mean over classes from seed to seed. The paper's figures are of a ResNet-18, whole sets, 4 000
epochs of 512; with batches of 32 it has {NSA_SMALL_BATCHES[0]} on CIFAR-10, normalised
{NSA_SMALL_BATCHES[1]}.
"""

PLOTTED = """\
SimSiam, three classes and three seeds. Lines on the bars: the deviation from seed to seed; dots:
chance.
"""


def from_scratch(lines):
    """The page: a section for each set, pollution and network."""
    alt = "Scores of plain and normalised SimSiam, clean and polluted"
    parts = [INTRODUCTION, PLOTTED, plot("from_scratch.svg", alt)]
    for kind, found in sorted(trainings(lines).items(), key=lambda item: json.dumps(item[0])):
        parts += _section(kind, found)
    return page("Trained from scratch", *parts, notes=["from_scratch"])


def trainings(lines):
    """By set and network, by training, by class and seed: AUROC by score."""
    tables = {}
    for line in lines:
        kind = (line["data"], line["n_train"], line["n_test"], line["pollution"], line["network"])
        training = (line["objective"], line["normalize"], line["negatives"], line["n_epochs"])
        training += (line["batch_size"], line["learning_rate"])
        found = tables.setdefault(kind, {}).setdefault(training, {})
        found.setdefault(line["class"], {})[line["seed"]] = line["auroc"]
    return tables


def class_sets(found):
    """Sets of classes that some training has the same seeds of, the largest first."""
    sets = set()
    for by_class in found.values():
        for seeds in {frozenset(by_seed) for by_seed in by_class.values()}:
            sets.add(frozenset(name for name in by_class if seeds <= set(by_class[name])))
    return sorted(sets, key=lambda classes: (-len(classes), sorted(classes)))


def simsiam(lines, data, pollution, normalize, n_classes):
    """Mean and deviation of each score of the small network, of as many classes, 500 images."""
    found = trainings(lines).get((data, 500, 100, pollution, "small_cnn:16"), {})
    for (objective, *rest), by_class in found.items():
        if (objective, rest[0], rest[3]) == ("simsiam", normalize, 128):
            sets = [names for names in class_sets(found) if len(names) == n_classes]
            if sets and sets[0] <= set(by_class):
                runs = [by_class[name] for name in sorted(sets[0])]
                return {score: figures(runs, score) for score in NSA_SCORES}
    return {}


def figures(runs, score):
    """Mean over seeds of the mean over classes, and its deviation; None where there is none."""
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in runs)))
    means = [
        sum(by_seed[seed][score] for by_seed in runs) / len(runs)
        for seed in seeds
        if all(score in by_seed[seed] for by_seed in runs)
    ]
    if not means:
        return None
    return sum(means) / len(means), statistics.stdev(means) if len(means) > 1 else None


def _section(kind, found):
    data, n_train, n_test, pollution, network = kind
    name = f"{TITLES.get(data, data)}, {network}"
    name += f", {pollution:.0%} polluted" if pollution else ""
    yield title(name)
    sets = class_sets(found)
    for classes in sets:
        names = sorted(classes)
        text = _table(kind, found, classes)
        counts = f"First {n_train} / {n_test}; normal in turn: {', '.join(names)}.\n"
        if len(classes) == max(map(len, sets)):
            yield f"{counts}\n{text}"
        else:
            yield folded(f"{', '.join(names)} only", counts, text)


def _table(kind, found, classes):
    """One table, of the trainings that have all of the classes."""
    names = sorted(classes)
    some = {
        training: [by_class[name] for name in names]
        for training, by_class in sorted(found.items(), key=str)
        if classes <= set(by_class)
    }
    every = (f for runs in some.values() for by_seed in runs for f in by_seed.values())
    scores = list(dict.fromkeys(score for one in every for score in one))
    rows = [_row(training, runs, scores) for training, runs in some.items()]
    if "small_cnn" in kind[-1]:
        rows += _published(kind, scores)
    return table(["training", "classes x seeds", *scores], rows)


def _row(training, runs, scores):
    objective, normalize, negatives, n_epochs, batch_size, learning_rate = training
    marks = ("n" if normalize else "") + ("-" if negatives else "")
    name = f"{objective}({marks})" if marks else objective
    found = [figures(runs, score) for score in scores]
    cells = [mean_and_spread(*pair, 1) if pair else "" for pair in found]
    seeds = set.intersection(*(set(by_seed) for by_seed in runs))
    counts = f"{len(runs)} x {len(seeds)}"
    if objective == "oc_svm":
        return ["OC-SVM, no training", counts, *cells]
    return [f"{name}, {n_epochs} epochs of {batch_size}, rate {learning_rate:g}", counts, *cells]


def _published(kind, scores):
    data, _, _, pollution, _ = kind
    for normalize, mark in ((False, ""), (True, "(n)")):
        found = dict(zip(NSA_SCORES, NSA.get((data, pollution, normalize), ())))
        if found:
            yield [f"simsiam{mark}, published", "10", *(found.get(score, "") for score in scores)]

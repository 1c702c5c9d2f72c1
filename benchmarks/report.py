"""Write ``doc/results.rst`` from the lines that the benchmarks left.

python -m benchmarks.report
"""

import json
import statistics
from pathlib import Path

from .accuracy import TITLES
from .report_acceptance import acceptance
from .report_choosing import choosing
from .report_conformal_masks import conformal_masks
from .report_few_pictures import few_pictures
from .report_inspection import beside_anomalib, inspection
from .report_localization import localization
from .report_many_classes import many_classes
from .report_sharded import sharded

HERE = Path(__file__).parent
TARGET = HERE.parent / "doc" / "results.rst"

HEAD = """\
Results
=======

.. Written by ``python -m benchmarks.report`` from the lines that the benchmarks left; don't edit.

Area under the ROC curve in percent; anomalies are the positive class. "First" counts are images of
each class, in the order of the set. CIFAR-10 is a copy that went through
JPEG.
"""

# Figures of the papers to set ours beside: data, protocol, metric -> text.
PUBLISHED = """\
Published
---------

To set beside these (224 pixels, ResNet-152 trained on ImageNet, original files): DN2 with the
euclidean metric 92.5 on CIFAR-10 and 94.5 on Fashion-MNIST (PANDA), with the cosine metric 95.8 on
CIFAR-10 (MSC); PANDA-Early 96.2 and 95.4, PANDA-SES 95.9 and 95.5, PANDA-EWC 96.2 and 95.6, PANDA
with the angular loss 96.8 on CIFAR-10, PANDA-OE 98.9 and 91.8, JO 93.2 and 94.9; MSC 97.2 on
CIFAR-10, with the angular loss 97.5; one class left out of CIFAR-10: DN2 80.4, MSC 85.3. Networks,
pictures and training sets here are far smaller.

NSA (ResNet-18, whole sets, 4 000 epochs of 512), k-Cos, k-Cos(Mah), c-Cos, c-Cos(Mah), GDE, Ens.:
SimSiam on CIFAR-10 86.5 89.5 59.3 85.8 87.9 90.1, normalised 91.6 91.7 84.9 90.5 91.0 92.5, with
10 % pollution 65.8 83.2 67.9 81.5 80.7 84.3 and 80.6 86.3 82.5 84.9 84.3 88.4; on Fashion-MNIST
92.7 95.9 84.7 95.7 95.8 95.8 and 93.9 95.0 90.7 94.8 94.9 96.1, polluted 40.3 63.0 88.4 73.3 72.6
86.1 and 52.7 75.3 90.3 80.0 79.8 87.8. Batches of 32 on CIFAR-10: 78.0, normalised 92.9.

DeepSVDD on MNIST, digit by digit (mean of ten seeds): 98.0 99.7 91.7 91.9 94.9 88.5 98.3 94.6 93.9
96.5, 94.8 in the mean; the network, images and schedule here are the same.
"""


def read(name):
    """Lines of a file of results."""
    path = HERE / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _latest(lines):
    """The last line of each kind, but for those that another goes beyond in seeds and classes."""
    wanted = ("detector", "params", "scorer", "network", "data", "protocol", "groups", "pollution")
    wanted += ("n_train", "n_test", "auxiliary")
    kinds = {}
    for line in lines:
        seeds, classes = frozenset(line.get("seeds", [0])), frozenset(line["auroc"])
        kind = kinds.setdefault(json.dumps([line.get(name) for name in wanted]), {})
        kind[seeds, classes] = line
    return [
        line
        for kind in kinds.values()
        for (seeds, classes), line in kind.items()
        if not any(
            key != (seeds, classes) and seeds <= key[0] and classes <= key[1] for key in kind
        )
    ]


def table(header, rows):
    """A list-table."""
    text = [".. list-table::", "   :header-rows: 1", ""]
    for row in [header, *rows]:
        text += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
    return "\n".join([*text, ""])


def accuracy(lines):
    """One section for each set and protocol: means, then the classes of each run."""
    text, groups = [], {}
    lines = _latest([line for line in lines if "detector" in line])
    for line in lines:
        groups.setdefault((line["data"], line["protocol"], tuple(line["auroc"])), []).append(line)
    for (data, protocol, classes), group in groups.items():
        title = f"{data}, {protocol.replace('_', ' ')}"
        alike = [line for line in lines if (line["data"], line["protocol"]) == (data, protocol)]
        if len(classes) < max(len(line["auroc"]) for line in alike):
            title += f": {', '.join(classes)} only"
            settings = {_settings(line) for line in group}
            group = [_restricted(line, classes) for line in alike if _settings(line) in settings]
        text += [title, "-" * len(title), ""]
        header = ["detector", "network", "first train / test", "mean", *classes]
        text += [table(header, [_row(line, classes) for line in group if line])]
    return "\n".join(text)


def _settings(line):
    return line["network"], line["n_train"], line["n_test"]


def _restricted(line, classes):
    """A line of results with some of its classes, to stand beside lines that have no more."""
    if not set(classes) <= set(line["auroc"]):
        return None
    figures = {name: line["auroc"][name] for name in classes}
    whole = len(classes) == len(line["auroc"])
    mean = line["mean"] if whole else sum(figures.values()) / len(figures)
    return line | {"auroc": figures, "mean": mean, "spread": line.get("spread") if whole else None}


def scorers(lines):
    """One section for each set and network: every scorer on the same features."""
    text, groups = [], {}
    for line in _latest([line for line in lines if "scorer" in line]):
        groups.setdefault((line["data"], line["network"]), []).append(line)
    for (data, network), group in groups.items():
        title = f"Scorers on features of {_network(network)}: {data}, one vs rest"
        text += [title, "-" * len(title), ""]
        classes = list(group[0]["auroc"])
        rows = [
            [f"``{line['scorer']}``", f"{line['mean']:.2f}"]
            + [f"{line['auroc'][name]:.1f}" for name in classes]
            for line in group
        ]
        text += [table(["scorer", "mean", *classes], rows)]
    return "\n".join(text)


def _network(name):
    known = {"default": "tiny", "mobilenetv2": "mobilenetv2, 128 px, bfloat16"}
    return known.get(name, name)


def from_scratch(lines):
    """Tables for each set and protocol: every score of a training, means over classes and seeds."""
    text, tables = [], {}
    for line in lines:
        kind = (line["data"], line["n_train"], line["n_test"], line["pollution"], line["network"])
        training = (line["objective"], line["normalize"], line["negatives"], line["n_epochs"])
        training += (line["batch_size"], line["learning_rate"])
        found = tables.setdefault(kind, {}).setdefault(training, {})
        found.setdefault(line["class"], {})[line["seed"]] = line["auroc"]
    for kind, trainings in sorted(tables.items(), key=lambda item: json.dumps(item[0])):
        for classes in _class_sets(trainings):
            text += _scratch_table(kind, trainings, classes)
    return "\n".join(text)


def _class_sets(trainings):
    """Sets of classes that some training has the same seeds of, the largest first."""
    found = set()
    for by_class in trainings.values():
        for seeds in {frozenset(by_seed) for by_seed in by_class.values()}:
            found.add(frozenset(name for name in by_class if seeds <= set(by_class[name])))
    return sorted(found, key=lambda classes: (-len(classes), sorted(classes)))


def _scratch_table(kind, trainings, classes):
    """One table, of the trainings that have all of the classes."""
    data, n_train, n_test, pollution, network = kind
    title = f"From scratch: {TITLES.get(data, data)}, one vs rest, {network}"
    title += f", {pollution:.0%} polluted" if pollution else ""
    names = sorted(classes)
    if len(classes) < max(map(len, trainings.values())):
        title += f": {', '.join(names)} only"
    trainings = {
        training: [by_class[name] for name in names]
        for training, by_class in sorted(trainings.items(), key=str)
        if classes <= set(by_class)
    }
    every = (f for runs in trainings.values() for by_seed in runs for f in by_seed.values())
    scores = list(dict.fromkeys(score for found in every for score in found))
    rows = [_scratch_row(training, runs, scores) for training, runs in trainings.items()]
    counts = f"First {n_train} / {n_test}; normal in turn: {', '.join(names)}."
    if any(len(by_seed) > 1 for runs in trainings.values() for by_seed in runs):
        counts += " Behind +-: standard deviation of the mean over classes from seed to seed."
    header = ["training", "classes x seeds", *scores]
    return [title, "-" * len(title), "", counts, "", table(header, rows)]


def _scratch_row(training, runs, scores):
    objective, normalize, negatives, n_epochs, batch_size, learning_rate = training
    marks = ("n" if normalize else "") + ("-" if negatives else "")
    name = f"{objective}({marks})" if marks else objective
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in runs)))
    figures = []
    for score in scores:
        means = [
            sum(by_seed[seed][score] for by_seed in runs) / len(runs)
            for seed in seeds
            if all(score in by_seed[seed] for by_seed in runs)
        ]
        figures.append(f"{sum(means) / len(means):.1f}" if means else "")
        figures[-1] += f" +- {statistics.stdev(means):.1f}" if len(means) > 1 else ""
    counts = f"{len(runs)} x {len(seeds)}"
    if objective == "oc_svm":
        return ["OC-SVM, no training", counts, *figures]
    return [f"{name}, {n_epochs} epochs of {batch_size}, rate {learning_rate:g}", counts, *figures]


def _percent(pair):
    """Mean and standard error."""
    return f"{100 * pair[0]:.2f} +- {100 * pair[1]:.2f}"


def conformal(lines):
    """Rates that were asked for, beside those measured."""
    if not lines:
        return ""
    line = lines[-1]
    protocol = line["protocol"]
    text = ["Conformal decisions", "-------------------", "", ".. image:: conformal.png", ""]
    text += [
        f"``{line['estimator']}`` on features of {_network(line['network'])}, {line['data']}; "
        f"normal: {', '.join(line['classes'])}, in turn; means and standard errors, in percent, of "
        f"seeds {line['seeds']}, each a random draw of {protocol['n_fit']} images to fit, "
        f"{protocol['n_normal']} normal ones and {protocol['n_anomalies']} anomalies to test.",
        "",
    ]
    rows = []
    for group, kind in (
        ("rates", "false_alarms"),
        ("false_discovery", "false_discoveries"),
        ("polluted", "false_alarms"),
    ):
        for name, found in line["mean"][group].items():
            for asked, measured in found[kind].items():
                what = f"{name}, 10 % polluted" if group == "polluted" else name
                what = f"{kind.replace('_', ' ')}, {what}"
                rows.append(
                    [
                        what,
                        f"{100 * float(asked):g}",
                        _percent(measured),
                        _percent(found["found"][asked]),
                    ]
                )
    return "\n".join([*text, table(["rate, method", "asked", "measured", "anomalies found"], rows)])


def _row(line, classes):
    parameters = ", ".join(f"{k}={v!r}" for k, v in line["params"].items())
    network = _network(line["network"])
    if line.get("pollution"):
        parameters += f"; training images polluted by {line['pollution']:.0%}"
    if line.get("auxiliary"):
        parameters += f"; others: {line['auxiliary']}"
    counts = f"{line['n_train'] or 'all'} / {line['n_test'] or 'all'}"
    figures = [f"{line['auroc'][name]:.1f}" for name in classes]
    return [
        f"``{line['detector']}({parameters})``",
        network,
        counts,
        f"{line['mean']:.2f}" + (f" +- {line['spread']:.2f}" if line.get("spread") else ""),
        *figures,
    ]


def speed(lines):
    """The last figure of each kind."""
    if not lines:
        return ""
    figures = {label: value for line in lines for label, value in line["figures"].items()}
    text = ["Speed and memory", "----------------", ""]
    text += [
        "From ``benchmarks/speed.py``, ``pictures.py``, ``hand_over.py`` and "
        "``adaptation_speed.py``, ratios within "
        f"one run ({lines[-1]['machine']}).",
        "",
    ]
    return "\n".join([*text, table(["what", "figure"], figures.items())])


def main():
    """Write the page."""
    results, speeds = read("results.jsonl"), read("speed.jsonl")
    notes = HERE / "notes.rst"
    parts = [
        HEAD,
        accuracy(results),
        PUBLISHED,
        scorers(results),
        from_scratch(read("from_scratch.jsonl")),
        acceptance(read("acceptance.jsonl"), table),
        many_classes(read("many_classes.jsonl"), table),
        choosing(read("choosing.jsonl"), table),
        few_pictures(read("few_pictures.jsonl"), table),
        localization(read("localization.jsonl"), table),
        inspection(read("localization.jsonl"), table),
        beside_anomalib(read("beside_anomalib.jsonl"), table),
        conformal(read("conformal.jsonl")),
        conformal_masks(read("conformal_masks.jsonl"), table),
    ]
    parts += [notes.read_text(), sharded(read("sharded.jsonl"), table), speed(speeds)]
    versions = results[-1]["versions"] if results else {}
    stamp = ", ".join(f"{name} {number}" for name, number in versions.items())
    parts.append(f"Measured with {stamp}.")
    TARGET.write_text("\n".join(part.rstrip() + "\n" for part in parts if part))


if __name__ == "__main__":
    main()

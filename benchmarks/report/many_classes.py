"""Tables of ``benchmarks/many_classes.jsonl``: several classes are normal together."""

import json

from .. import accuracy
from . import published
from .accuracy import sections
from .rst import folded, page, table, title

TITLES = accuracy.TITLES | {"magnetic_tile": "magnetic tiles in pieces", "cifar100": "CIFAR-100"}

INTRODUCTION = """\
Several classes are normal together, and nobody tells which picture is of which: all but one class
of a set, all of a set against another set, or a group of classes. AUROC in percent.
"""

ONE_LEFT_OUT = "one class left out"

LABELS = {
    "dn2": "none: DN2, frozen features",
    "msc": "none: MSC",
    "kmeans_pixels": "k-means on pixels",
    "kmeans": "k-means on pretrained features",
    "scan_head": "SCAN, head on pretrained features",
    "dec": "DEC from scratch",
    "scan": "SCAN from scratch",
    "truth": "true labels (upper bound)",
}

# What a training on labels is told, beside the labels.
TRAINING = ("trainable", "augmentation", "first_head", "n_epochs", "n_averaged", "batch_size")
TRAINING += ("learning_rate",)

NETWORKS = {"mobilenetv2": "mobilenetv2, 128 px"}


def many_classes(lines, results):
    """The page: one class left out, deep clustering, CLAD's groups, clusters."""
    parts = [INTRODUCTION, *sections(results, "leave_one_class_out", ", one class left out")]
    for task, make in TASKS.items():
        for kind, group in kinds(lines, task).items():
            parts += make(kind, group)
    return page("Many classes, no labels", *parts, notes=["many_classes"])


def kinds(lines, task):
    """The lines of a task by set, protocol, number of images and network."""
    groups = {}
    for line in lines:
        if line["task"] == task:
            kind = (line["data"], _protocol(line), line["n_train"], line["n_test"])
            kind += (line["network"],) if task == "deep_clustering" else ()
            groups.setdefault(kind, []).append(line)
    return dict(sorted(groups.items(), key=lambda item: json.dumps(item[0])))


def _protocol(line):
    """What is normal in a line of deep clustering."""
    name = line.get("protocol", "")
    return ONE_LEFT_OUT if name.endswith(" left out") else name


def _counts(n_train, n_test):
    """The protocol in words."""
    if n_train is None and n_test is None:
        return "All images."
    return f"Reduced: first {n_train or 'all'} training and {n_test or 'all'} test images a class."


def _mean(values):
    values = [value for value in values if value is not None]
    return f"{sum(values) / len(values):.1f}" if values else ""


def by_group(lines):
    """AUROC of each seed, by group of classes."""
    cells = {}
    for line in lines:
        cells.setdefault(line["group"], []).append(line["auroc"][line["method"]])
    return cells


def clad(kind, lines):
    """Super-categories: CLAD beside DeepSVDD and OC-SVM, and what was published."""
    data, _, n_train, n_test = kind
    names = list(dict.fromkeys(line["group"] for line in lines))
    rows = {}
    for line in lines:
        epochs = "/".join(map(str, line.get("n_epochs", [])))
        row = line["method"] + (f", {epochs} epochs" if epochs else "")
        if "network" in line:
            rate = line.get("learning_rate", 1e-4)
            row += f", K = {line['n_clusters']}, {line['network']}, rate {rate:g}"
            row += f", autoencoder {line['encoder']}" if "encoder" in line else ""
        rows.setdefault(row, []).append(line)
    found = []
    for row, some in rows.items():
        cells = by_group(some)
        seeds = sorted({len(values) for values in cells.values()})
        means = [sum(values) / len(values) for values in cells.values()]
        figures = [_mean(cells.get(name, [])) for name in names]
        found.append([row, "-".join(map(str, seeds)), *figures, _mean(means)])
    for method, figures in published.CLAD.items():
        figures = [figures[name] for name in names]
        found.append([f"{method}, published", "", *map(str, figures), _mean(figures)])
    yield title(f"CLAD's super-categories: {TITLES.get(data, data)}")
    yield f"{_counts(n_train, n_test)} Epochs: autoencoder, clustering, classifier.\n"
    yield table(["method", "seeds", *names, "mean"], found)


def deep_clustering(kind, lines):
    """One protocol: labels, numbers of clusters, epochs, scores."""
    data, protocol, n_train, n_test, network = kind
    against = protocol != ONE_LEFT_OUT
    name = f"Deep clustering: {TITLES.get(data, data)}, "
    name += f"against {TITLES.get(protocol, protocol)}" if against else protocol
    yield title(f"{name}, {NETWORKS.get(network, network)}")
    yield f"{_counts(n_train, n_test)}\n"
    rows = rows_of(lines)
    yield _by_labels(rows)
    more = _by_epoch(rows)
    of_row = {name: {line["protocol"] for line in group} for name, group in rows.items()}
    whole = {name: rows[name] for name in rows if of_row[name] == set.union(*of_row.values())}
    if whole and len(whole) < len(rows):
        rows = whole
        more.append("Below: what was run for all of these protocols.\n")
    trained = {name: group for name, group in rows.items() if "averaged" in group[0]["auroc"]}
    more += [*_by_number(trained), _by_score(rows)]
    yield folded("Epochs, numbers of clusters, other scores", *more)


def rows_of(lines):
    """The lines of each row, in the order of labels."""
    rows = {}
    for line in sorted(lines, key=lambda line: (list(LABELS).index(line["labels"]), str(line))):
        rows.setdefault(_row_of(line), []).append(line)
    return rows


def _row_of(line):
    """What the lines of one row share: labels, number of clusters, and the training."""
    return (
        line["labels"],
        line.get("n_clusters"),
        json.dumps([line.get(name) for name in (*TRAINING, "msc_params")]),
        json.dumps([line.get(f"cluster_{name}") for name in ("network", "epochs", "rate")]),
    )


def _name(row, with_number=True):
    """A row in words."""
    labels, number, training, clusters = row
    text = LABELS[labels]
    text += f", K = {number}" if number and with_number else ""
    network, epochs, _ = json.loads(clusters)
    text += f" ({network or 'CLAD'}: {'/'.join(map(str, epochs))} epochs)" if epochs else ""
    trainable, augmentation, head, *numbers, msc = json.loads(training)
    n_epochs, n_averaged, batch_size, rate = numbers
    if msc:
        text += f", {', '.join(f'{name}={value!r}' for name, value in msc.items())}"
    if n_epochs is None:
        return text
    text += f"; {n_epochs} epoch{'s' * (n_epochs > 1)} of {batch_size}, rate {rate:g}"
    text += f", trained: {trainable}"
    text += f", last {n_averaged} averaged" if n_averaged < n_epochs else ""
    text += ", head begun by discriminant analysis" if head == "discriminant" else ""
    return text + (f", {augmentation} augmentation" if augmentation else ", no augmentation")


def final(line, score="1-NN"):
    """AUROC of what a training ends with."""
    return list(line["auroc"].values())[-1].get(score)


def _count(group):
    return f"{len({line['protocol'] for line in group})} x {len({line['seed'] for line in group})}"


def _by_labels(rows):
    names = sorted({line["protocol"] for group in rows.values() for line in group})
    found = []
    for row, group in rows.items():
        cells = [
            _mean([final(line) for line in group if line["protocol"] == name]) for name in names
        ]
        accuracy = _mean([line["quality"]["accuracy"] for line in group if "quality" in line])
        mean = _mean([final(line) for line in group]) if all(cells) else ""
        found.append([_name(row), _count(group), mean, *cells, accuracy])
    header = ["labels to train on", "protocols x seeds", "mean", *names, "accuracy of labels"]
    return table(header, found, "AUROC by the cosine distance to the nearest image")


def _by_number(rows):
    pivot = {}
    for (labels, number, *rest), group in rows.items():
        if number:
            pivot.setdefault((labels, None, *rest), {})[number] = group
    numbers = sorted({number for cells in pivot.values() for number in cells})
    if len(numbers) < 2:
        return []
    found = [
        [_name(row), *(_mean([final(line) for line in cells.get(n, [])]) for n in numbers)]
        for row, cells in pivot.items()
    ]
    header = ["labels", *(f"K = {number}" for number in numbers)]
    return [table(header, found, "Numbers of clusters, means of the same AUROC")]


def _by_epoch(rows):
    rows = {name: group for name, group in rows.items() if len(group[0]["auroc"]) > 2}
    if not rows:
        return []
    every = [name for group in rows.values() for line in group for name in line["auroc"]]
    epochs = sorted(set(every) - {"averaged"}, key=lambda name: int(name.split()[1]))
    found = [
        [
            _name(row),
            ", ".join(sorted({line["protocol"] for line in group})),
            *(
                _mean([line["auroc"].get(epoch, {}).get("1-NN") for line in group])
                for epoch in (*epochs, "averaged")
            ),
        ]
        for row, group in rows.items()
    ]
    header = ["labels", "protocols", *epochs, "averaged"]
    return [table(header, found, "Single epochs and their weights averaged, means")]


def _by_score(rows):
    every = [name for group in rows.values() for line in group for name in _scores(line)]
    names = list(dict.fromkeys(every))
    found = [
        [_name(row), *(_mean([final(line, name) for line in group]) for name in names)]
        for row, group in rows.items()
    ]
    return table(["labels", *names], found, "Scores of the same networks, means")


def _scores(line):
    return list(list(line["auroc"].values())[-1])


def clustering(kind, lines):
    """How well clusters of a whole set are its classes."""
    data, _, n_train, _ = kind
    measures = ("accuracy", "NMI", "ARI")
    rows = {}
    for line in sorted(lines, key=lambda line: (list(LABELS).index(line["labels"]), str(line))):
        rows.setdefault((_row_of(line), line["network"]), []).append(line)
    found = [
        [_name(row) + (f" ({NETWORKS.get(network, network)})" if network else ""), str(len(group))]
        + [_mean([line["quality"][name] for line in group]) for name in measures]
        for (row, network), group in rows.items()
    ]
    if data == "cifar10":
        pair = {"SCAN": published.SCAN, "SCAN, self-labelled": published.SCAN_SELF_LABELLED}
        found += [
            [f"{name}, published: all 50 000 images", "", *(of.get(m, "") for m in measures)]
            for name, of in pair.items()
        ]
    yield title(f"Clusters of {TITLES.get(data, data)}")
    counts = f"Reduced: first {n_train} training images a class." if n_train else "All images."
    yield f"{counts} In percent, on the training images.\n"
    yield table(["clusters", "seeds", *measures], found)


TASKS = {"clad": clad, "deep_clustering": deep_clustering, "clustering": clustering}

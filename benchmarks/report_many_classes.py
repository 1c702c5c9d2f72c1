"""Tables of ``doc/results.rst`` from the lines of ``benchmarks/many_classes.jsonl``."""

import json

from . import accuracy

TITLES = accuracy.TITLES | {"magnetic_tile": "magnetic tiles in pieces", "cifar100": "CIFAR-100"}

# Figures of CLAD's paper: on the whole sets, in its own training; below 0.5 its code turns an AUROC
# round, which is not done here.
PUBLISHED_CLAD = {
    "CLAD": {"CUR": 94.0, "STR": 96.1, "MIX": 92.6, "THG": 74.9, "LIV": 72.8},
    "DeepSVDD": {"CUR": 81.7, "STR": 82.2, "MIX": 69.7, "THG": 65.0, "LIV": 52.7},
    "OC-SVM on pixels": {"CUR": 69.9, "STR": 87.4, "MIX": 54.8, "THG": 51.9, "LIV": 67.7},
}

PUBLISHED_CLUSTERING = (
    "Published on CIFAR-10 (original files, all 50 000 images): SCAN's accuracy 81.6 and NMI 71.5, "
    "after self-labelling 88.3 and 79.7."
)

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


def many_classes(lines, table):
    """All sections; `table` makes one table of a header and rows."""
    sections = []
    for task, make in (
        ("clad", clad),
        ("deep_clustering", deep_clustering),
        ("clustering", clustering),
    ):
        groups = {}
        for line in lines:
            if line["task"] == task:
                kind = (line["data"], _protocol(line), line["n_train"], line["n_test"])
                kind += (line["network"],) if task == "deep_clustering" else ()
                groups.setdefault(kind, []).append(line)
        for kind, group in sorted(groups.items(), key=lambda item: json.dumps(item[0])):
            sections.append(make(kind, group, table))
    return "\n".join(sections)


def _protocol(line):
    """What is normal in a line of deep clustering."""
    name = line.get("protocol", "")
    return "one class left out" if name.endswith(" left out") else name


def _title(text):
    return [text, "-" * len(text), ""]


def _counts(n_train, n_test):
    """The protocol in words."""
    if n_train is None and n_test is None:
        return "All images."
    return f"Reduced: first {n_train or 'all'} training and {n_test or 'all'} test images a class."


def _mean(values):
    values = [value for value in values if value is not None]
    return f"{sum(values) / len(values):.1f}" if values else ""


def clad(kind, lines, table):
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
        cell = rows.setdefault(row, {}).setdefault(line["group"], [])
        cell.append(line["auroc"][line["method"]])
    found = []
    for row, cells in rows.items():
        seeds = sorted({len(values) for values in cells.values()})
        means = [sum(values) / len(values) for values in cells.values()]
        figures = [_mean(cells.get(name, [])) for name in names]
        found.append([row, "-".join(map(str, seeds)), *figures, _mean(means)])
    for method, figures in PUBLISHED_CLAD.items():
        figures = [figures[name] for name in names]
        found.append([f"{method}, published", "", *map(str, figures), _mean(figures)])
    text = _title(f"CLAD's super-categories: {TITLES.get(data, data)}")
    text += [f"{_counts(n_train, n_test)} Epochs: autoencoder, clustering, classifier.", ""]
    return "\n".join([*text, table(["method", "seeds", *names, "mean"], found)])


def deep_clustering(kind, lines, table):
    """One protocol: labels, numbers of clusters, epochs, scores."""
    data, protocol, n_train, n_test, network = kind
    against = protocol != "one class left out"
    title = f"Deep clustering: {TITLES.get(data, data)}, "
    title += f"against {TITLES.get(protocol, protocol)}" if against else protocol
    text = _title(f"{title}, {NETWORKS.get(network, network)}")
    rows = {}
    for line in sorted(lines, key=lambda line: (list(LABELS).index(line["labels"]), str(line))):
        rows.setdefault(_row_of(line), []).append(line)
    text += [_counts(n_train, n_test), ""]
    text += _by_labels(rows, table)
    text += _by_epoch(rows, table)
    of_row = {name: {line["protocol"] for line in group} for name, group in rows.items()}
    whole = {name: rows[name] for name in rows if of_row[name] == set.union(*of_row.values())}
    if whole and len(whole) < len(rows):
        rows = whole
        text += ["Below: what was run for all of these protocols.", ""]
    trained = {name: group for name, group in rows.items() if "averaged" in group[0]["auroc"]}
    text += _by_number(trained, table)
    text += _by_score(rows, table)
    return "\n".join(text)


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


def _final(line, score="1-NN"):
    """AUROC of what a training ends with."""
    return list(line["auroc"].values())[-1].get(score)


def _count(group):
    return f"{len({line['protocol'] for line in group})} x {len({line['seed'] for line in group})}"


def _by_labels(rows, table):
    names = sorted({line["protocol"] for group in rows.values() for line in group})
    found = []
    for row, group in rows.items():
        cells = [
            _mean([_final(line) for line in group if line["protocol"] == name]) for name in names
        ]
        accuracy = _mean([line["quality"]["accuracy"] for line in group if "quality" in line])
        mean = _mean([_final(line) for line in group]) if all(cells) else ""
        found.append([_name(row), _count(group), mean, *cells, accuracy])
    header = ["labels to train on", "protocols x seeds", "mean", *names, "accuracy of labels"]
    return ["AUROC by the cosine distance to the nearest image.", "", table(header, found)]


def _by_number(rows, table):
    pivot = {}
    for (labels, number, *rest), group in rows.items():
        if number:
            pivot.setdefault((labels, None, *rest), {})[number] = group
    numbers = sorted({number for cells in pivot.values() for number in cells})
    if len(numbers) < 2:
        return []
    found = [
        [_name(row), *(_mean([_final(line) for line in cells.get(n, [])]) for n in numbers)]
        for row, cells in pivot.items()
    ]
    header = ["labels", *(f"K = {number}" for number in numbers)]
    return ["Numbers of clusters, means of the same AUROC.", "", table(header, found)]


def _by_epoch(rows, table):
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
    return ["Single epochs and their weights averaged, means.", "", table(header, found)]


def _by_score(rows, table):
    every = [name for group in rows.values() for line in group for name in _scores(line)]
    names = list(dict.fromkeys(every))
    found = [
        [_name(row), *(_mean([_final(line, name) for line in group]) for name in names)]
        for row, group in rows.items()
    ]
    return ["Scores of the same networks, means.", "", table(["labels", *names], found)]


def _scores(line):
    return list(list(line["auroc"].values())[-1])


def clustering(kind, lines, table):
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
    text = _title(f"Clusters of {TITLES.get(data, data)}")
    counts = f"Reduced: first {n_train} training images a class." if n_train else "All images."
    text += [f"{counts} In percent, on the training images.", ""]
    if data == "cifar10":
        text += [PUBLISHED_CLUSTERING, ""]
    return "\n".join([*text, table(["clusters", "seeds", *measures], found)])

"""Tables of ``benchmarks/results.jsonl``: detectors on one class or on all but one."""

from .lines import counts, latest, network
from .published import ONE_CLASS
from .rst import folded, mean_and_spread, page, plot, table, title

INTRODUCTION = """\
One class of a set is normal, and all others are anomalies; each class in turn. Area under the ROC
curve (AUROC) in percent, and its mean over the classes. CIFAR-10 is a copy that went through
JPEG. "tiny" is the embedded network at 64 pixels. Behind ±: the standard deviation of the mean
from seed to seed. Published rows are of original files and a ResNet-152 at 224 pixels, where
nothing else is said.
"""

# Parameters that say how long a training goes on: told once below a table where a detector has no
# others in it.
SCHEDULE = ("n_steps", "n_epochs", "learning_rate", "trainable")
SCHEDULE += ("n_pretraining_epochs", "pretraining_decay_at", "pretraining_weight_decay")


def method(line):
    """Parameters of a detector, less its schedule."""
    return {name: value for name, value in line["params"].items() if name not in SCHEDULE}


def one_class(lines):
    """The page of one class against the rest."""
    gains = [
        plot(f"gain_{name}.svg", f"Gain of trainings over DN2 on {name}, class by class")
        for name in ("cifar10", "fashion_mnist")
    ]
    text = "What a training gains on DN2 with the same distance, in points of AUROC:\n"
    parts = [INTRODUCTION, text, *gains, *sections(lines, "one_vs_rest")]
    return page("One class against the rest", *parts, notes=["features", "trainings"])


def sections(lines, protocol, suffix=""):
    """One section for each set; the suffix is of the title."""
    lines = latest([line for line in lines if "detector" in line])
    lines = [line for line in lines if line["protocol"] == protocol]
    for data in dict.fromkeys(line["data"] for line in lines):
        yield title(f"{data}{suffix}")
        yield from tables([line for line in lines if line["data"] == data])


def tables(lines):
    """Tables of a set: all classes, by the number of images; what has some classes only, folded."""
    groups = {}
    for line in lines:
        groups.setdefault((line["n_train"], line["n_test"], tuple(line["auroc"])), []).append(line)
    most = max(len(line["auroc"]) for line in lines)
    for (*numbers, classes), group in sorted(groups.items(), key=lambda item: _order(*item[0])):
        name = counts(*numbers)
        if len(classes) == most:
            yield _table(group, classes, name, _published(group) if numbers[0] is None else [])
            continue
        networks = {line["network"] for line in group}
        alike = [line for line in lines if [line["n_train"], line["n_test"]] == numbers]
        alike = [_restricted(line, classes) for line in alike if line["network"] in networks]
        only = f"{', '.join(classes)} only"
        text = _table([line for line in alike if line], classes, name)
        yield folded(f"{name}: {only}", text)


def _order(n_train, n_test, classes):
    return -len(classes), -(n_train or 10**9), -(n_test or 10**9), classes


def _restricted(line, classes):
    """A line of results with some of its classes, to stand beside lines that have no more."""
    if not set(classes) <= set(line["auroc"]):
        return None
    figures = {name: line["auroc"][name] for name in classes}
    whole = len(classes) == len(line["auroc"])
    mean = line["mean"] if whole else sum(figures.values()) / len(figures)
    return line | {"auroc": figures, "mean": mean, "spread": line.get("spread") if whole else None}


def _table(lines, classes, name, more=()):
    lines = sorted(lines, key=lambda line: _place(line))
    shared = _shared(lines)
    rows = [
        [
            _name(line, shared),
            network(line["network"]),
            mean_and_spread(line["mean"], line.get("spread")),
            *(f"{line['auroc'][name]:.1f}" for name in classes),
        ]
        for line in lines
    ]
    text = table(["method", "network", "mean", *classes], [*rows, *more], name)
    told = [
        f"``{detector}`` ({network(net)}): ``{_written(params)}``"
        for (detector, net), params in shared.items()
        if params
    ]
    return f"{text}\nTrained with: {'; '.join(told)}.\n" if told else text


def _place(line):
    known = ("default", "mobilenetv2")
    net = known.index(line["network"]) if line["network"] in known else len(known)
    return net, line["detector"] != "DN2", line["detector"], str(line["params"])


def _shared(lines):
    """Schedules, by detector and network, that all lines of it share."""
    shared = {}
    for line in lines:
        params = {name: line["params"][name] for name in SCHEDULE if name in line["params"]}
        key = line["detector"], line["network"]
        before = shared.get(key, params)
        shared[key] = {name: value for name, value in params.items() if before.get(name) == value}
    return shared


def _written(params):
    params = {k: f"{v:g}" if isinstance(v, float) else repr(v) for k, v in params.items()}
    return ", ".join(f"{name}={value}" for name, value in params.items())


def _name(line, shared):
    common = shared[line["detector"], line["network"]]
    params = {k: v for k, v in line["params"].items() if common.get(k, ...) != v}
    text = f"``{line['detector']}({_written(params)})``"
    if line.get("pollution"):
        text += f", {line['pollution']:.0%} of the training images polluted"
    return text + (f", others: {line['auxiliary']}" if line.get("auxiliary") else "")


def _published(group):
    """Rows of papers, for the set of a group."""
    data, protocol = group[0]["data"], group[0]["protocol"]
    none = [""] * len(group[0]["auroc"])
    return [
        [f"{found.method}, published", found.network, found.mean, *(found.classes or none)]
        for found in ONE_CLASS
        if (found.data, found.protocol) == (data, protocol)
    ]

"""Lines of results: read them, keep the last of each kind, name what they are of."""

import json
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1]

KIND = ("detector", "params", "scorer", "network", "data", "protocol", "groups", "pollution")
KIND += ("n_train", "n_test", "auxiliary")


def read(name):
    """Lines of a file of results."""
    path = BENCHMARKS / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def latest(lines):
    """The last line of each kind, but for those that another goes beyond in seeds and classes."""
    kinds = {}
    for line in lines:
        seeds, classes = frozenset(line.get("seeds", [0])), frozenset(line["auroc"])
        kind = kinds.setdefault(json.dumps([line.get(name) for name in KIND]), {})
        kind[seeds, classes] = line
    return [
        line
        for kind in kinds.values()
        for (seeds, classes), line in kind.items()
        if not any(
            key != (seeds, classes) and seeds <= key[0] and classes <= key[1] for key in kind
        )
    ]


def network(name):
    """A network in words."""
    return {"default": "tiny", "mobilenetv2": "mobilenetv2, 128 px, bfloat16"}.get(name, name)


def counts(n_train, n_test):
    """How many images, in words."""
    if n_train is None and n_test is None:
        return "All images"
    return f"First {n_train or 'all'} training and {n_test or 'all'} test images of each class"

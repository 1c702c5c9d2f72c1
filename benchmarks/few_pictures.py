"""DN2 with few normal pictures, and with anomalies among them.

Each run appends one line of JSON to ``benchmarks/few_pictures.jsonl``; ``benchmarks/report``
makes tables of ``doc/results`` of the last of each kind. Features of "tiny" are computed once
for each task of a set; what is compared is ``DN2()``, as it is and with other parameters.

    python -m benchmarks.few_pictures cifar10 cells
"""

import argparse
import datetime
import json
import runpy
import warnings

import numpy as np

from skad import DN2, KNNScorer
from skad.metrics import auroc_score

from .accuracy import HERE, SHARED
from .choosing import SETS, tasks

LINES = HERE / "few_pictures.jsonl"

N_TRAIN = (5, 10, 25, 50, 100, 500)
POLLUTION = (0.0, 0.05, 0.1)
N_DRAWS = 2

PARAMETERS = {
    "DN2()": {},
    'metric="cosine"': {"metric": "cosine"},
    'pollution="estimate"': {"pollution": "estimate"},
}


def scorer(detector, given):
    """The scorer of a fitted DN2, unfitted, with other parameters."""
    own = detector.pipeline_["scorer"].get_params()
    return KNNScorer(**own | given)


def measure(X, X_test, y, rng):
    """AUROC by number of pictures, by share of anomalies, and by parameters."""
    detector = DN2().fit(X)
    extractor = detector.pipeline_["extractor"]
    features, test = extractor.transform(X), extractor.transform(X_test)
    found = {}
    for n in N_TRAIN:
        for pollution in POLLUTION if n == N_TRAIN[-1] else (0.0,):
            own = rng.permutation(len(features))[:n]
            n_others = int(pollution / (1 - pollution) * len(own))
            others = rng.permutation(np.flatnonzero(y == -1))[:n_others]
            train = np.concatenate([features[own], test[others]])
            kept = np.setdiff1d(np.arange(len(y)), others)
            for name, given in PARAMETERS.items():
                scores = scorer(detector, given).fit(train).score_samples(test[kept])
                found[n, pollution, name] = 100 * auroc_score(y[kept], scores)
    return found


def main(argv=None):
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("sets", nargs="*", default=SETS, choices=SETS)
    args = parser.parse_args(argv)
    loader = runpy.run_path(str(SHARED / "data" / "load.py"))
    for name in args.sets:
        found = {}
        for _, X, X_test, y in tasks(loader, name, N_TRAIN[-1], 100):
            for draw in range(N_DRAWS):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    one = measure(X, X_test, y, np.random.RandomState(draw))
                for kind, area in one.items():
                    found.setdefault(kind, []).append(area)
        write(name, found)


def write(name, found):
    """One line for each number of pictures and share of anomalies."""
    with LINES.open("a") as file:
        for n, pollution in dict.fromkeys(kind[:2] for kind in found):
            line = {"data": name, "n_train": n, "pollution": pollution, "n_draws": N_DRAWS}
            areas = {p: found[n, pollution, p] for p in PARAMETERS}
            line["auroc"] = {p: round(float(np.mean(a)), 3) for p, a in areas.items()}
            line["date"] = datetime.date.today().isoformat()
            file.write(json.dumps(line) + "\n")
            print(line, flush=True)


if __name__ == "__main__":
    main()

"""Normal images of many classes: CLAD, deep clustering, and the clusters that they stand on.

Each run appends one line of JSON to ``benchmarks/many_classes.jsonl``, and is left out when asked
for again, so that a programme that was broken off goes on; ``benchmarks/report`` makes tables
of ``doc/results`` of the lines.

    python -m benchmarks.many_classes clad --data mnist --n-train 500 --n-test 100
    python -m benchmarks.many_classes deep_clustering --labels dn2 kmeans scan_head truth \
        --classes airplane dog ship --n-train 200 --n-test 100
    python -m benchmarks.many_classes deep_clustering --against fashion_mnist --n-train 200
    python -m benchmarks.many_classes deep_clustering --against cifar100 --folder cifar100/test
    python -m benchmarks.many_classes clustering --data mnist --n-train 500
"""

import argparse
import datetime
import hashlib
import io
import itertools
import json
import os
import platform
import runpy
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.preprocessing import normalize

from skad import (
    CLAD,
    DEC,
    MSC,
    SCAN,
    AutoencoderAdapter,
    ConfidenceScorer,
    DeepSVDD,
    FeatureExtractor,
    GaussianScorer,
    KNNScorer,
    PseudoLabelAdapter,
    SelfSupervisedAdapter,
    backbones,
)
from skad.backbones import svdd_cifar, svdd_mnist
from skad.images._door import check_images
from skad.metrics import auroc_score, clustering_accuracy
from skad.model_selection import Task, leave_one_class_out, super_categories
from skad.training._images import TrainingImages

from .accuracy import HERE, SHARED, load_images, shared_mobilenet, small_network, versions
from .from_scratch import measure_svm, score

TARGET = HERE / "many_classes.jsonl"

# CLAD's super-categories, under the paper's names.
GROUPS = {
    "mnist": {"CUR": [0, 3, 8], "STR": [1, 4, 7], "MIX": [2, 5, 6, 9]},
    "cifar10": {"THG": [0, 1, 8, 9], "LIV": [2, 3, 4, 5, 6, 7]},
}

# What CLAD's and DeepSVDD's networks are told, and which ones they are.
GRAY = {"n_channels": 1, "image_size": 28}
COLOUR = {"n_channels": 3, "image_size": 32}
KINDS = {
    "mnist": {"made": GRAY, "encoder": "clad_small", "svdd": svdd_mnist},
    "cifar10": {"made": COLOUR, "encoder": "clad_large", "svdd": svdd_cifar},
}

# Numbers of neighbours that deep clustering's paper compares.
NEIGHBORS = (1, 2, 5, 10)


class EveryEpoch(PseudoLabelAdapter):
    """Look at the network at each of the epochs that are averaged, and at the average.

    The attributes `task` and `labels` are to be set before `fit`.
    """

    def _task(self, start, class_labels=None):
        task = super()._task(start, class_labels)
        source = check_images(self, self.task.X_test)
        self._tested, _ = start.more_images(source, self.batch_size)
        self._kept, plain = {}, task.after_step

        def after_step(step):
            plain(step)
            epoch, rest = divmod(step, task.images.sampler.n_batches)
            if not rest and epoch in task.averaged:
                self._kept[epoch] = task.state()

        task.after_step = after_step
        return task

    def _learn(self, task, outcome):
        for images in task.start.opened:  # their reader has ended with the training
            images._reader = ThreadPoolExecutor(1)
        self.found_, self._output = {}, self.output
        for epoch, values in self._kept.items():  # the last holds the whole average, too
            task.restore(values)
            self._keep_head(task.head)
            self.found_[f"epoch {epoch}"] = self._look(task)
        super()._learn(task, outcome)
        alone = len(self._kept) == 1  # its average is itself
        self.found_["averaged"] = next(iter(self.found_.values())) if alone else self._look(task)

    def _look(self, task):
        """AUROC in percent of every score that a network trained on labels has."""
        train = self._features_of(task, task.images, self.task.X_train)
        test = self._features_of(task, self._tested, self.task.X_test)
        found = neighbor_scores(train, self.task, test)
        try:
            scorer = GaussianScorer().fit(train, class_labels=self.labels)
            scores = scorer.decision_function(test)
            found["Mahalanobis"] = round(100 * auroc_score(self.task.y_test, scores), 2)
        except ValueError:  # all features have become one
            found["Mahalanobis"] = 50.0
        logits = self._logits(train), self._logits(test)
        return found | {"confidence": score(ConfidenceScorer(), logits[0], self.task, logits[1])}

    def _features_of(self, task, images, X):
        """Features of images; those that are not augmented go on from the frozen stages."""
        if images.kept_memory == 0:
            return self.transform(X)
        indices = np.arange(len(images))
        chunks = np.array_split(indices, -(-len(images) // task.start.extractor.batch_size))
        with torch.no_grad():
            parts = [task.cut.trained_part(images.hidden(chunk)) for chunk in chunks]
        return torch.cat(parts).cpu().numpy()


def _digest(image):
    return hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest()


def remember_frozen_stages():
    """Compute what frozen stages give for an image once for all trainings of the same network."""
    compute, known = TrainingImages._frozen_part, {}

    def remembered(images, batch):
        entry = getattr(images.cut, "entry", "features")
        if entry is None:  # nothing is frozen
            return compute(images, batch)
        keys = [(entry, _digest(image)) for image in batch]
        new = [index for index, key in enumerate(keys) if key not in known]
        if new:
            known.update(zip([keys[i] for i in new], compute(images, [batch[i] for i in new])))
        return torch.stack([known[key] for key in keys])

    TrainingImages._frozen_part = remembered


def encoder(data, name=None):
    """CLAD's encoder, by name or that of the image set, for images of the set."""
    kind = KINDS[data]
    return partial(getattr(backbones, name or kind["encoder"]), **kind["made"])


def quality(y_true, labels):
    """How well clusters are classes, in percent."""
    measures = {
        "accuracy": clustering_accuracy,
        "NMI": normalized_mutual_info_score,
        "ARI": adjusted_rand_score,
    }
    found = {name: round(100 * float(of(y_true, labels)), 2) for name, of in measures.items()}
    return found | {"clusters": len(np.unique(labels))}


def neighbor_scores(train, task, test):
    """AUROC in percent by the cosine distance to one and more neighbours."""
    scorers = {f"{k}-NN": KNNScorer(k, metric="cosine", aggregation="mean") for k in NEIGHBORS}
    return {name: score(scorer, train, task, test) for name, scorer in scorers.items()}


def measure_clad(task, run):
    """CLAD, DeepSVDD or OC-SVM, with a group of classes as normal."""
    if run["method"] == "OC-SVM on pixels":
        return measure_svm(task.X_train, task)
    kind, seed = KINDS[run["data"]], run["seed"]
    if run["method"] == "DeepSVDD":
        epochs = dict(zip(("n_pretraining_epochs", "n_epochs"), run["n_epochs"]))
        detector = DeepSVDD(kind["svdd"], random_state=seed, **epochs)
    else:
        names = ("n_autoencoder_epochs", "n_clustering_epochs", "n_epochs")
        detector = CLAD(
            partial(small_network(run["network"]), **kind["made"]),
            encoder(run["data"], run.get("encoder")),
            n_clusters=run["n_clusters"],
            learning_rate=run["learning_rate"],
            random_state=seed,
            **dict(zip(names, run["n_epochs"])),
        )
    scores = detector.fit(task.X_train).decision_function(task.X_test)
    found = {"auroc": {run["method"]: round(100 * auroc_score(task.y_test, scores), 2)}}
    if run["method"] == "CLAD":
        found["quality"] = quality(task.y_train, detector.labels_)
    return found


def clad_runs(arguments, _):
    """CLAD's protocol: each run and what measures it."""
    images = read(arguments)
    groups = GROUPS[arguments.data]
    groups = {name: groups[name] for name in arguments.groups or groups}
    tasks = list(super_categories(*images[:4], groups=groups))
    for seed, task, method in itertools.product(arguments.seeds, tasks, arguments.methods):
        run = common(arguments, seed) | {"method": method, "group": task.name}
        if method == "CLAD":
            run |= {"network": arguments.network, "n_clusters": arguments.n_clusters}
            run |= {"n_epochs": arguments.epochs, "learning_rate": arguments.learning_rate}
            run |= {"encoder": arguments.encoder} if arguments.encoder else {}
        elif method == "DeepSVDD":
            run |= {"n_epochs": arguments.svdd_epochs}
        elif seed != arguments.seeds[0]:
            continue  # it draws nothing
        yield run, partial(measure_clad, task, run)


def cluster(X, y, run, parameters, memory):
    """Labels to train on: clusters of one kind or another, or the classes."""
    kind, seed, k = run["labels"], run["seed"], run["n_clusters"]
    if kind == "truth":
        return y
    extractor = FeatureExtractor(**parameters, memory=memory)
    if kind == "kmeans_pixels":
        return KMeans(k, n_init=10, random_state=seed).fit_predict(X.reshape(len(X), -1) / 255)
    if kind == "kmeans":
        features = normalize(extractor.fit_transform(X))
        return KMeans(k, n_init=10, random_state=seed).fit_predict(features)
    if kind == "scan_head":
        return SCAN(
            extractor,
            n_clusters=k,
            trainable="head",
            augmentation=None,
            learning_rate=run["cluster_rate"],
            n_self_labelling_epochs=0,
            random_state=seed,
        ).fit_predict(X)
    first, *then = run["cluster_epochs"]
    if kind == "dec":
        network = encoder(run["data"], run.get("cluster_network"))
        network = FeatureExtractor(network, weights=None, random_state=seed)
        settings = {"batch_size": 512, "learning_rate": 1e-3, "decay_at": 1.0, "weight_decay": 0.0}
        codes = AutoencoderAdapter(network, n_epochs=first, random_state=seed, **settings)
        return DEC(codes, n_clusters=k, n_epochs=then[0], random_state=seed).fit_predict(X)
    made = partial(small_network(run["cluster_network"]), **KINDS[run["data"]]["made"])
    representation = SelfSupervisedAdapter(
        FeatureExtractor(made, weights=None, random_state=seed),
        objective="simclr",
        normalize=False,
        temperature=0.1,
        learning_rate=1e-3,
        n_epochs=first,
        random_state=seed,
    )
    names = ("n_epochs", "n_self_labelling_epochs")
    settings = dict(zip(names, then)) | {"learning_rate": run["cluster_rate"]}
    return SCAN(representation, n_clusters=k, random_state=seed, **settings).fit_predict(X)


def cluster_settings(arguments, labels):
    """What decides clusters that are trained for."""
    if labels == "scan_head":
        return {"cluster_rate": 1e-3}  # at 1e-2 most clusters end without an image
    if labels == "scan":
        return {
            "cluster_network": arguments.scan_network,
            "cluster_epochs": arguments.scan_epochs,
            "cluster_rate": arguments.scan_rate,
        }
    if labels != "dec":
        return {}
    network = {"cluster_network": arguments.encoder} if arguments.encoder else {}
    return network | {"cluster_epochs": arguments.dec_epochs}


def measure_deep_clustering(task, run, parameters, memory):
    """Frozen features, MSC, or a network that is trained on labels; every score of it."""
    if run["labels"] == "dn2":
        extractor = FeatureExtractor(**parameters, memory=memory).fit(task.X_train)
        train, test = (extractor.transform(X) for X in (task.X_train, task.X_test))
        return {"auroc": {"frozen": neighbor_scores(train, task, test)}}
    if run["labels"] == "msc":
        detector = MSC(**parameters, **run["msc_params"], random_state=run["seed"])
        adapter = detector.fit(task.X_train).pipeline_["adapter"]
        train, test = (adapter.transform(X) for X in (task.X_train, task.X_test))
        return {"auroc": {"adapted": neighbor_scores(train, task, test)}}
    labels = cluster(task.X_train, task.y_train, run, parameters, memory)
    settings = ("trainable", "augmentation", "first_head", "n_epochs", "batch_size")
    settings += ("learning_rate",)
    n_epochs, n_averaged = run["n_epochs"], run["n_averaged"]
    adapter = EveryEpoch(
        FeatureExtractor(**parameters),
        **{name: run[name] for name in settings},
        final_learning_rate=run["learning_rate"] / 10,
        averaged_epochs=list(range(n_epochs + 1 - min(n_averaged, n_epochs), n_epochs + 1)),
        random_state=run["seed"],
    )
    adapter.task, adapter.labels = task, labels
    adapter.fit(task.X_train, class_labels=labels)
    spread = adapter.training_curve_["spread"]
    return {
        "auroc": adapter.found_,
        "quality": quality(task.y_train, labels),
        "spread_left": round(float(spread[-1] / spread[0]), 3),
    }


def deep_clustering_tasks(arguments):
    """One class of a set left out, or all of it normal and another set beside it."""
    images = read(arguments)
    if arguments.against:
        others = another_set(arguments, len(images.X_test))
        X_test = np.concatenate([images.X_test, others])
        y_test = np.repeat([1, -1], [len(images.X_test), len(others)])
        return {arguments.against: Task("all", images.X_train, images.y_train, X_test, y_test)}
    chosen = [images.classes.index(name) for name in arguments.classes or images.classes]
    tasks = leave_one_class_out(*images[:4], classes=chosen)
    return {f"{images.classes[task.name]} left out": task for task in tasks}


def another_set(arguments, n_images):
    """Images of another set, as colour images of 32 pixels; magnetic tiles in pieces of 32."""
    folder = arguments.shared / "data"
    if arguments.against == "magnetic_tile":
        found = []
        for tile in load_tiles(folder):
            rows, columns = (side // 32 for side in tile.shape)
            pieces = tile[: 32 * rows, : 32 * columns].reshape(rows, 32, columns, 32)
            found.append(pieces.swapaxes(1, 2).reshape(-1, 32, 32))
        found = np.concatenate(found)
    elif arguments.against == "cifar100":
        paths = sorted(arguments.folder.glob("*/*.png"))
        if not paths:
            raise SystemExit(
                f"--folder must hold folders of PNG files; {arguments.folder} has none"
            )
        found = np.stack([np.asarray(_as_jpeg(Image.open(path))) for path in paths])
    else:
        found = load_images(folder, arguments.against, 1, -(-n_images // 10)).X_test
    found = found[np.linspace(0, len(found) - 1, min(n_images, len(found))).astype(int)]
    resized = [Image.fromarray(i).convert("RGB").resize((32, 32), Image.BICUBIC) for i in found]
    return np.stack([np.asarray(image) for image in resized])


def _as_jpeg(image):
    """An image compressed as CIFAR-10's are here, so that this does not tell them apart."""
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=75)
    return Image.open(file)


def load_tiles(folder):
    """Magnetic tiles without defects."""
    loader = runpy.run_path(str(folder / "load.py"))
    return loader["load"](
        "magnetic_tile", np.flatnonzero(loader["labels_of"]("magnetic_tile")[0] == 0)
    )[0]


def deep_clustering_runs(arguments, memory):
    """Deep clustering's protocols: each run and what measures it."""
    parameters = pretrained(arguments)
    remember_frozen_stages()
    tasks = deep_clustering_tasks(arguments)
    names = ("trainable", "augmentation", "first_head", "n_epochs", "n_averaged", "batch_size")
    names += ("learning_rate",)
    grid = itertools.product(arguments.seeds, arguments.n_clusters, tasks.items(), arguments.labels)
    for seed, k, (name, task), labels in grid:
        run = common(arguments, seed) | {"protocol": name, "labels": labels}
        run |= {"network": arguments.network}
        if labels == "msc":
            run |= {"msc_params": arguments.msc_params}
        elif labels != "dn2":
            run |= {"n_clusters": None if labels == "truth" else k}
            run |= {name: getattr(arguments, name) for name in names}
            run |= cluster_settings(arguments, labels)
        yield run, partial(measure_deep_clustering, task, run, parameters, memory)


def clustering_runs(arguments, memory):
    """Clusters of a whole set: each run and what measures it."""
    images, parameters = read(arguments), pretrained(arguments)

    def measure(run):
        labels = cluster(images.X_train, images.y_train, run, parameters, memory)
        return {"quality": quality(images.y_train, labels)}

    for seed, k, labels in itertools.product(
        arguments.seeds, arguments.n_clusters, arguments.labels
    ):
        run = common(arguments, seed) | {"labels": labels, "n_clusters": k}
        run |= {"network": arguments.network if labels in ("kmeans", "scan_head") else None}
        run |= cluster_settings(arguments, labels)
        yield run, partial(measure, run)


def read(arguments):
    """The images of a programme."""
    folder = arguments.shared / "data"
    return load_images(folder, arguments.data, arguments.n_train, arguments.n_test)


def pretrained(arguments):
    """Parameters of a FeatureExtractor."""
    if arguments.network == "mobilenetv2":
        return shared_mobilenet(arguments.shared / "weights")
    return {"backbone": arguments.network}


def common(arguments, seed):
    """What decides a run of any kind."""
    names = ("task", "data", "n_train", "n_test")
    return {name: getattr(arguments, name) for name in names} | {"seed": seed}


def is_known(run, path):
    """Whether the file holds a line of this run."""
    lines = path.read_text().splitlines() if path.exists() else []
    wanted = json.dumps(run)
    return any(json.dumps({n: json.loads(line).get(n) for n in run}) == wanted for line in lines)


def parse():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    tasks = parser.add_subparsers(dest="task", required=True)
    clad = tasks.add_parser("clad", help="super-categories of MNIST and CIFAR-10")
    deep = tasks.add_parser("deep_clustering", help="one class left out, or another set")
    clusters = tasks.add_parser("clustering", help="how well clusters are classes")
    for task, default in ((clad, "mnist"), (deep, "cifar10"), (clusters, "mnist")):
        task.add_argument("--data", choices=list(GROUPS), default=default, help="image set")
        task.add_argument("--seeds", nargs="+", type=int, default=[0])
        task.add_argument("--n-train", type=int, help="training images a class; all by default")
        task.add_argument("--n-test", type=int, help="test images a class; all by default")
        task.add_argument("--shared", type=Path, default=SHARED, help="images and weights")
        task.add_argument("--out", type=Path, default=TARGET)
    add_options(clad, deep, clusters)
    arguments = parser.parse_args()
    if getattr(arguments, "augmentation", None) == "none":
        arguments.augmentation = None
    if getattr(arguments, "against", None) == "cifar100" and arguments.folder is None:
        parser.error("--against cifar100 needs --folder, where its test images are")
    return arguments


def add_options(clad, deep, clusters):
    """What each of the tasks takes by itself."""
    clad.add_argument("--groups", nargs="+", help="their names; all by default")
    methods = ["CLAD", "DeepSVDD", "OC-SVM on pixels"]
    clad.add_argument("--methods", nargs="+", choices=methods, default=methods)
    clad.add_argument("--network", default="cifar_resnet18", help="name in skad.backbones:width")
    clad.add_argument("--n-clusters", type=int, default=10)
    clad.add_argument("--epochs", nargs=3, type=int, default=[100] * 3, help="of CLAD's trainings")
    clad.add_argument("--learning-rate", type=float, default=1e-4, help="of CLAD's classifier")
    clad.add_argument("--svdd-epochs", nargs=2, type=int, default=[350, 150])
    for task in (clad, deep, clusters):
        encoders = ["clad_small", "clad_large"]
        task.add_argument("--encoder", choices=encoders, help="of CLAD; that of --data by default")
    kinds = ["kmeans_pixels", "kmeans", "scan_head", "dec", "scan"]
    for task, labels in ((deep, ["dn2", "msc", *kinds[1:3], "truth"]), (clusters, kinds[:4])):
        choices = kinds if task is clusters else ["dn2", "msc", *kinds, "truth"]
        task.add_argument("--labels", nargs="+", choices=choices, default=labels)
        task.add_argument("--n-clusters", nargs="+", type=int, default=[10])
        task.add_argument("--network", default="mobilenetv2", help="mobilenetv2 or tiny")
        task.add_argument("--dec-epochs", nargs=2, type=int, default=[100, 100])
        task.add_argument("--scan-epochs", nargs=3, type=int, default=[500, 50, 200])
        task.add_argument("--scan-network", default="cifar_resnet18", help="in skad.backbones")
        task.add_argument("--scan-rate", type=float, default=1e-4, help="of SCAN's own trainings")
        task.add_argument("--memory", type=Path, help="folder that keeps frozen features")
    deep.add_argument("--classes", nargs="+", help="names of those left out; all by default")
    sets = ["fashion_mnist", "mnist", "magnetic_tile", "cifar100"]
    deep.add_argument("--against", choices=sets, help="another set; the whole --data is normal")
    deep.add_argument("--folder", type=Path, help="PNG files of cifar100, in a folder for a class")
    deep.add_argument("--trainable", default="all", help="stages, as of PseudoLabelAdapter")
    deep.add_argument("--augmentation", choices=["mild", "none"], default="mild")
    deep.add_argument("--first-head", choices=["random", "discriminant"], default="random")
    deep.add_argument("--n-epochs", type=int, default=5)
    deep.add_argument("--n-averaged", type=int, default=5, help="last epochs to average")
    deep.add_argument("--batch-size", type=int, default=32)
    deep.add_argument("--learning-rate", type=float, default=1e-5)
    deep.add_argument("--msc-params", type=json.loads, default={}, help="as JSON")


def main():
    """Measure what the command line says, one line for each run."""
    arguments = parse()
    programme = globals()[f"{arguments.task}_runs"]
    with tempfile.TemporaryDirectory() as folder:
        for run, measure in programme(arguments, getattr(arguments, "memory", None) or folder):
            if is_known(run, arguments.out):
                continue
            print(run, flush=True)
            start, start_cpu = time.perf_counter(), time.process_time()
            line = run | measure()
            line |= {
                "seconds": round(time.perf_counter() - start, 1),
                "cpu_seconds": round(time.process_time() - start_cpu, 1),
                "date": datetime.date.today().isoformat(),
                "versions": versions(),
                "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            }
            print("   ", line.get("auroc", ""), line.get("quality", ""), flush=True)
            print(f"    {line['seconds']} s, {line['cpu_seconds']} s of processor", flush=True)
            with arguments.out.open("a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()

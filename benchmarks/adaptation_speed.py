"""Ratios of training time and memory, each against a yardstick in the same run.

    python -m benchmarks.adaptation_speed
    python -m benchmarks.adaptation_speed panda msc --out benchmarks/speed.jsonl

The yardstick of "panda" and "msc" is a plain loop, as published codes have it: PIL images through
torchvision's transforms in a DataLoader with two workers, the whole network at each step, float32.
It is spared what those do besides: the scores of a test set after each epoch, and new workers.
"""

import random
import time
from functools import partial
from itertools import islice
from unittest import mock

import numpy as np

from skad import CompactnessAdapter, FeatureExtractor, MeanShiftedContrastive
from skad.losses import mean_shifted_contrastive_loss
from skad.training._run import Training
from skad.training._watch import N_LOOKS, CollapseWatch

from .accuracy import SHARED, load_images, shared_mobilenet
from .timing import peak_memory, run_tasks, seconds

# Steps that are measured, and those of the whole training (of 500 images, for MSC).
N_STEPS, BUDGETS = {"panda": 150, "msc": 16}, {"panda": 2300, "msc": 200}
REPEATS = 2

# Two trainings are the same if their losses agree so far; order and views of images differ.
SAME = 0.05

AIM = "<= 0.6 on two cores, 0.25 on a GPU"
SMALL = {"backbone": "test_resnet", "weights": None, "image_size": 32}


class Pictures:
    """Images as PIL, through transforms: what a DataLoader reads."""

    def __init__(self, images, *transforms):
        self.images, self.transforms = images, transforms

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        from PIL import Image

        image = Image.fromarray(self.images[i])
        return [transform(image) for transform in self.transforms]


class Blur:
    """Gaussian blur of random width, by PIL."""

    def __call__(self, image):
        from PIL import ImageFilter

        return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


class PlainLoop:
    """Training of the last two stages by a plain loop.

    Parameters
    ----------
    images : ndarray of uint8, shape (n_images, height, width, 3)
    network : dict
        Parameters of a FeatureExtractor, which builds the network and chooses the parameters.
    """

    def __init__(self, images, network):
        import torch
        from torchvision import transforms as T

        from skad.networks._stages import trained_parameters

        extractor = FeatureExtractor(**network | {"precision": "float32"}).fit(images)
        made = extractor.preprocessing_
        assert made.resize == "whole"
        self.size, self.images = made.image_size, images
        self.device = extractor.fitted_network_.device
        self.network = extractor.network_.to(memory_format=torch.contiguous_format)
        names = trained_parameters(self.network, "last_two", "plain loop")
        self.network.reset_classifier(0)
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in names)
        self.trained = [p for p in self.network.parameters() if p.requires_grad]
        self.finish = [T.ToTensor(), T.Normalize(made.mean, made.std)]
        resize = T.Resize((self.size, self.size), T.InterpolationMode.BICUBIC)
        self.plain = T.Compose([resize, *self.finish])
        self.losses, self.stamps = [], []

    def loader(self, *transforms, batch_size, shuffle=True):
        """Batches, by two workers."""
        from torch.utils.data import DataLoader

        return DataLoader(
            Pictures(self.images, *transforms),
            batch_size,
            shuffle=shuffle,
            num_workers=2,
            persistent_workers=True,
        )

    def features(self, batch_size):
        """Features of all images as the network stands."""
        import torch

        loader = self.loader(self.plain, batch_size=batch_size, shuffle=False)
        with torch.no_grad():
            return torch.cat([self.network(views[0].to(self.device)) for views in loader])

    def train(self, loader, loss_of, optimizer, n_steps, clip_norm=None):
        """Take steps, epoch after epoch."""
        from torch.nn.utils import clip_grad_norm_

        epochs = (views for _ in range(n_steps) for views in loader)
        for views in islice(epochs, n_steps):
            loss = loss_of([view.to(self.device) for view in views])
            optimizer.zero_grad()
            loss.backward()
            if clip_norm is not None:
                clip_grad_norm_(self.trained, clip_norm)
            optimizer.step()
            self.losses.append(loss.item())
            self.stamps.append(time.perf_counter())

    def panda(self, n_steps):
        """Compactness around the first centre."""
        import torch

        center = self.features(32).mean(0)

        def loss_of(views):
            return (self.network(views[0]) - center).square().mean()

        optimizer = torch.optim.SGD(self.trained, lr=1e-2, momentum=0.9, weight_decay=5e-5)
        loader = self.loader(self.plain, batch_size=32)
        self.train(loader, loss_of, optimizer, n_steps, clip_norm=1e-3)

    def msc(self, n_steps):
        """Two views of each image contrasted, as seen from the first centre."""
        import torch

        unit = partial(torch.nn.functional.normalize, dim=1)
        center = unit(self.features(64)).mean(0)

        def loss_of(views):
            first, second = (self.network(view) for view in views)
            return mean_shifted_contrastive_loss(first, second, center)

        optimizer = torch.optim.SGD(self.trained, lr=1e-5, weight_decay=5e-5)
        view = self.contrastive_view()
        self.train(self.loader(view, view, batch_size=64), loss_of, optimizer, n_steps)

    def contrastive_view(self):
        """A random view by the recipe of MoCo v2."""
        from torchvision import transforms as T

        return T.Compose(
            [
                T.RandomResizedCrop(self.size, scale=(0.2, 1.0)),
                T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
                T.RandomGrayscale(p=0.2),
                T.RandomApply([Blur()], p=0.5),
                T.RandomHorizontalFlip(),
                *self.finish,
            ]
        )


def training_images(n_images=500):
    """Images of one class of CIFAR-10, or random ones where that is not at hand."""
    if (SHARED / "data").is_dir():
        return load_images(SHARED / "data", "cifar10", n_images, 1).X_train[:n_images]
    return np.random.RandomState(0).randint(0, 256, (n_images, 32, 32, 3), dtype=np.uint8)


def networks():
    """Parameters of extractors, by what the figures call them."""
    found = {"tiny, 64 px": {}}
    if (SHARED / "weights").is_dir():
        found["MobileNetV2, 128 px"] = shared_mobilenet(SHARED / "weights")
    return found


def compactness(adapter, loop, images):
    """Loss over all images after training, of both."""
    ours = ((adapter.transform(images) - adapter.center_) ** 2).mean()
    plain = loop.features(32).cpu().numpy()
    return ours, ((plain - adapter.center_) ** 2).mean()


def contrast(adapter, loop, images):
    """Mean loss of the steps, of both."""
    curve = adapter.training_curve_
    return np.average(curve["loss"][1:], weights=np.diff(curve["step"])), np.mean(loop.losses)


def check_same(losses, what):
    """Refuse a comparison of trainings that end up elsewhere."""
    ours, plain = losses
    print(f"  loss, {what}: ours {ours:.5g}, plain loop {plain:.5g}", flush=True)
    if abs(ours / plain - 1) > SAME:
        raise RuntimeError(f"{what}: the losses differ, {ours:.5g} and {plain:.5g}.")


def timed_fit(adapter, images):
    """Seconds of `fit`, of each step, and of each look of the watch."""
    stamps, looks = [], []
    loss, look = Training._loss, CollapseWatch.look

    def stamped_loss(training, step):
        stamps.append(time.perf_counter() - sum(looks))
        return loss(training, step)

    def timed_look(watch, step):
        looks.append(seconds(lambda: look(watch, step)))

    with (
        mock.patch.object(Training, "_loss", stamped_loss),
        mock.patch.object(CollapseWatch, "look", timed_look),
    ):
        total = seconds(lambda: adapter.fit(images))
    return total, np.diff(stamps), looks


def times(method, adapter, images, n_steps):
    """Seconds of `fit`, and of one of the whole budget, whose looks lie further apart."""
    total, steps, looks = timed_fit(adapter.set_params(n_steps=n_steps), images)
    more_looks = N_LOOKS + 1 - len(looks)
    return total, total + (BUDGETS[method] - n_steps) * steps.mean() + more_looks * np.mean(looks)


def plain_times(method, loop, n_steps):
    """The same of a plain loop."""
    total = seconds(lambda: getattr(loop, method)(n_steps))
    step = (loop.stamps[-1] - loop.stamps[0]) / (n_steps - 1)
    return total, total + (BUDGETS[method] - n_steps) * step


def against_plain_loop(method, make, losses_of):
    """Time of `fit` over that of a plain loop which trains the same, for each network."""
    images, n_steps = training_images(), N_STEPS[method]
    figures = {}
    for name, network in networks().items():
        found = {}
        for count in [2] + [n_steps] * REPEATS:  # the first round warms up
            loop = PlainLoop(images, network)
            plain = plain_times(method, loop, count)
            for precision in ["float32", "bfloat16"] if network else ["float32"]:
                adapter = make(FeatureExtractor(**network | {"precision": precision}))
                ours = times(method, adapter, images, count)
                if count == n_steps:
                    check_same(losses_of(adapter, loop, images), f"{method}, {name}, {precision}")
                    found.setdefault(precision, []).append([plain, ours])
                    print(f"  seconds, plain and ours: {plain[0]:.1f}, {ours[0]:.1f}", flush=True)
        for precision, runs in found.items():
            plain, ours = np.median(runs, axis=0)
            what = f"{method.upper()} fit / plain loop, {name}, {precision}"
            figures[f"{what}, {n_steps} steps"] = ours[0] / plain[0]
            figures[f"{what}, {BUDGETS[method]} steps by those ({AIM})"] = ours[1] / plain[1]
    return figures


def panda():
    """Compactness, whose frozen stages are computed once for each image."""
    return against_plain_loop("panda", CompactnessAdapter, compactness)


def msc():
    """Contrastive training, whose views are made for a whole batch at once."""
    return against_plain_loop("msc", MeanShiftedContrastive, contrast)


def scaling(few=500, many=50_000, n_steps=300):
    """Time of a step among many images, over that among few, before and after."""
    images = np.random.RandomState(0).randint(0, 256, (many, 32, 32, 3), dtype=np.uint8)
    steps = []
    for n_images in (few, few, many, few):  # the first one warms up
        adapter = CompactnessAdapter(FeatureExtractor(**SMALL), n_steps=n_steps)
        steps.append(np.median(timed_fit(adapter, images[:n_images])[1]))
    return {"PANDA, time of a step, 50 000 / 500 images (1)": steps[2] / np.mean(steps[1::2])}


def fit_memory(n_images, memory_limit):
    """Peak resident MiB of a process that fits so many random images."""
    return peak_memory(
        "import numpy as np; from skad import CompactnessAdapter, FeatureExtractor;"
        f"shape = ({n_images}, 32, 32, 3);"
        "images = np.random.RandomState(0).randint(0, 256, shape, dtype=np.uint8);"
        f"adapter = CompactnessAdapter(FeatureExtractor(**{SMALL}), trainable='last_three',"
        f"n_steps=20, memory_limit={memory_limit});"
        "adapter.fit(images)"
    )


def memory():
    """Peak memory of a fit, by the limit and by the number of images."""
    few, many = fit_memory(500, 64), fit_memory(50_000, 64)
    unlimited = fit_memory(50_000, 2048)
    what = "PANDA, peak memory"
    return {
        f"{what}, limit of 64 / 2 048 MiB, 50 000 images of 8 KiB when kept": many / unlimited,
        f"{what}, MiB, 500 images": few,
        f"{what}, MiB, 50 000 images (themselves 146 MiB), limit of 64 MiB": many,
        f"{what}, MiB, 50 000 images (themselves 146 MiB), limit of 2 048 MiB": unlimited,
    }


TASKS = {"memory": memory, "panda": panda, "msc": msc, "scaling": scaling}


if __name__ == "__main__":
    run_tasks(TASKS, __doc__)

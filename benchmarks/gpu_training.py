"""Sections of ``benchmarks/gpu.py`` that train: against plain loops, and against bare passes.

The plain loop is that of published codes: PIL images through torchvision's transforms in a
DataLoader with two workers, the whole network at each step, float32, the loss read at each step.
Bare passes are forward, backward and step of the same network on one batch that lies on the device.
"""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import repeat

from skad import (
    SCAN,
    CompactnessAdapter,
    DeepSVDDAdapter,
    FeatureExtractor,
    MeanShiftedContrastive,
    SelfSupervisedAdapter,
)
from skad.backbones import cifar_resnet18, small_cnn, svdd_cifar

from .adaptation_speed import Pictures, PlainLoop
from .gpu_features import network_of, pictures, seconds

# Outputs of the layers of NSA's heads, those of the paper.
HEADS = {"projector_widths": [2048, 2048, 2048], "predictor_widths": [512, 512]}
SMALL_HEADS = {"projector_widths": [16, 16, 16], "predictor_widths": [8, 8]}


def step_seconds(batches, loss_of, optimizer, n_steps, device, reads_loss=True):
    """Seconds of a step, without those that come first, and the workers' start."""
    warm = max(1, n_steps // 4)

    def steps(count):
        for _, views in zip(range(count), batches):
            loss = loss_of([view.to(device) for view in views])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if reads_loss:
                loss.item()

    steps(warm)
    return seconds(lambda: steps(n_steps), device) / n_steps


@contextmanager
def endless(images, transforms, batch_size):
    """Batches of a DataLoader with two workers, epoch after epoch."""
    from torch.utils.data import DataLoader

    loader = DataLoader(
        Pictures(images, *transforms),
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=2,
        persistent_workers=True,
    )
    batches = (views for _ in repeat(None) for views in loader)
    try:
        yield batches
    finally:
        batches.close()
        loader._iterator = None  # ends the workers


def fit_step_seconds(make, images, few, many, device):
    """Seconds of a step of ours: of so many more steps in a fit."""
    make(few).fit(images)  # warms up
    short, long = (seconds(lambda n=n: make(n).fit(images), device) for n in (few, many))
    return (long - short) / (many - few)


@dataclass
class Method:
    """A training from random weights, as ours and as published codes have it.

    Parameters
    ----------
    name : str
    ours : callable
        Maps a number of steps to an estimator.
    network : torch.nn.Module
        All that the plain loop trains, by Adam.
    loss_of : callable
        Maps views, tensors on the device, to a loss.
    views : list of callable
        Transforms of a PIL image.
    batch_size : int
    """

    name: str
    ours: Callable
    network: object
    loss_of: Callable
    views: list
    batch_size: int

    def against_plain(self, images, counts, device):
        """Seconds of a step of ours, of a plain loop and of bare passes, and their ratios."""
        import torch

        few, many, n_plain = counts
        optimizer = torch.optim.Adam(self.network.to(device).train().parameters(), lr=1e-4)
        steps = partial(step_seconds, loss_of=self.loss_of, optimizer=optimizer, n_steps=n_plain)
        with endless(images, self.views, self.batch_size) as batches:
            plain = steps(batches, device=device)
            views = [view.to(device) for view in next(batches)]
        bare = steps(repeat(views), device=device, reads_loss=False)
        ours = fit_step_seconds(self.ours, images, few, many, device)
        what = f"{self.name}, {len(images)} pictures, batches of {self.batch_size}"
        return {
            f"{what}: milliseconds of a step": 1e3 * ours,
            f"{what}: the same of a plain loop": 1e3 * plain,
            f"{what}: the same of bare passes": 1e3 * bare,
            f"{what}: ours / plain loop (<= 0.3)": ours / plain,
            f"{what}: ours / bare passes": ours / bare,
        }


def fine_tuning(method, adapter, sizes, device, small):
    """PANDA or MSC: a whole fit of ours, a plain loop for fewer steps, and bare passes."""
    import torch

    n_images, n_steps, n_plain = sizes
    network = network_of(small, device=device)
    images = pictures(n_images, network["image_size"])

    def fit(count):
        adapter(FeatureExtractor(**network), n_steps=count).fit(images)

    fit(2)  # warms up
    ours = seconds(lambda: fit(n_steps), device)
    loop = PlainLoop(images, network)
    total = seconds(lambda: getattr(loop, method)(n_plain), device)
    warm = len(loop.stamps) // 4
    step = (loop.stamps[-1] - loop.stamps[warm]) / (len(loop.stamps) - 1 - warm)
    plain = total + (n_steps - n_plain) * step

    size, (n_views, batch_size) = network["image_size"], {"panda": (1, 32), "msc": (2, 64)}[method]
    views = [torch.rand(batch_size, 3, size, size, device=device) for _ in range(n_views)]
    optimizer = torch.optim.SGD(loop.trained, lr=1e-5, momentum=0.9)

    def loss_of(views):
        return sum(loop.network(view).square().mean() for view in views)

    bare = n_steps * step_seconds(
        repeat(views), loss_of, optimizer, max(2, n_plain // 2), device, reads_loss=False
    )
    what = f"{method.upper()}, {network['backbone']}, {size} px, {n_images} pictures"
    by = f"by {n_plain} of {n_steps}"
    return {
        f"{what}, {n_steps} steps: seconds of a fit": ours,
        f"{what}: the same of a plain loop, {by}": plain,
        f"{what}: the same of bare passes, {by}": bare,
        f"{what}: fit / plain loop (<= 0.3)": ours / plain,
        f"{what}: fit / bare passes": ours / bare,
    }


def panda(device, small):
    """Compactness: 2 300 steps of 32 pictures."""
    sizes = (12, 6, 4) if small else (5000, 2300, 120)
    return fine_tuning("panda", CompactnessAdapter, sizes, device, small)


def msc(device, small):
    """Contrast of two views: steps of 64 pictures, of which 500 are one class's budget."""
    sizes = (12, 3, 2) if small else (500, 200, 16)
    return fine_tuning("msc", MeanShiftedContrastive, sizes, device, small)


def images_and_network(small):
    """Small pictures, and a network for them, in a trial a narrow one."""
    network = partial(small_cnn, width=4) if small else cifar_resnet18
    return pictures(16 if small else 5000, 32), network


def view_of(size):
    """A random view by PIL and torchvision, without blur, as for small pictures."""
    from torchvision import transforms as T

    return T.Compose(
        [
            T.RandomResizedCrop(size, scale=(0.2, 1.0)),
            T.RandomHorizontalFlip(),
            T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            T.RandomGrayscale(p=0.2),
            T.ToTensor(),
            T.Normalize((0.5,) * 3, (0.25,) * 3),
        ]
    )


def nsa(device, small):
    """SimSiam from random weights, two views of 512 pictures a step."""
    import torch

    from skad.adapters._projection import mlp
    from skad.losses import simsiam_loss

    images, network = images_and_network(small)
    heads, batch_size = (SMALL_HEADS, 8) if small else (HEADS, 512)

    def ours(n_steps):
        extractor = FeatureExtractor(network, weights=None, device=device)
        return SelfSupervisedAdapter(
            extractor, objective="simsiam", n_steps=n_steps, batch_size=batch_size, **heads
        )

    encoder = network()
    width = encoder(torch.zeros(2, 3, 32, 32)).shape[1]
    projector = mlp(width, heads["projector_widths"], affine_end="plain")
    widths = [*heads["predictor_widths"], heads["projector_widths"][-1]]
    predictor = mlp(widths[-1], widths, affine_end="plain")
    whole = torch.nn.ModuleList([encoder, projector, predictor])

    def loss_of(views):
        first, second = (projector(encoder(view)) for view in views)
        return simsiam_loss(predictor(first), predictor(second), first, second)

    method = Method("NSA", ours, whole, loss_of, [view_of(32)] * 2, batch_size)
    return method.against_plain(images, (2, 22, 2) if small else (30, 90, 10), device)


def deep_svdd(device, small):
    """Near a centre from random weights, 200 pictures a step."""
    import torch
    from torchvision import transforms as T

    images, _ = images_and_network(small)
    batch_size = 8 if small else 200

    def ours(n_steps):
        extractor = FeatureExtractor(
            svdd_cifar, weights=None, device=device, contrast_normalization=True
        )
        return DeepSVDDAdapter(extractor, n_steps=n_steps, batch_size=batch_size)

    network, center = svdd_cifar(), torch.full((128,), 0.1, device=device)

    def loss_of(views):
        return (network(views[0]) - center).square().sum(1).mean()

    views = [T.Compose([T.ToTensor(), contrast_normalized, T.Normalize((0.5,) * 3, (0.25,) * 3)])]
    method = Method("DeepSVDD", ours, network, loss_of, views, batch_size)
    return method.against_plain(images, (2, 42, 4) if small else (50, 550, 100), device)


def contrast_normalized(image):
    """An image less its mean, over its mean deviation, as DeepSVDD's code has it."""
    image = image - image.mean()
    return image / image.abs().mean()


def scan(device, small):
    """Images and their neighbours in one cluster, 128 pairs a step."""
    import torch

    from skad.losses import scan_loss

    images, network = images_and_network(small)
    batch_size = 8 if small else 128
    epoch = -(-len(images) // batch_size)

    def ours(n_steps):
        return SCAN(
            FeatureExtractor(network, weights=None, device=device),
            n_clusters=4,
            n_neighbors=5,
            n_epochs=n_steps // epoch,
            n_self_labelling_epochs=0,
            batch_size=batch_size,
        )

    encoder = network()
    head = torch.nn.Linear(encoder(torch.zeros(2, 3, 32, 32)).shape[1], 4)
    whole = torch.nn.Sequential(encoder, head)

    def loss_of(views):
        return scan_loss(*map(whole, views))

    method = Method("SCAN", ours, whole, loss_of, [view_of(32)] * 2, batch_size)
    return method.against_plain(images, (2 * epoch, 8 * epoch, 2 if small else 20), device)

"""Train the small bundled backbone by distilling a larger frozen network.

The student (``skad.networks._tiny.tiny``) learns from unlabelled pictures to reproduce the pooled
features of a teacher (MobileNetV2 trained on ImageNet).  Three steps, the first cached in
``--work``:

1. decode all pictures, keep a 64-pixel copy, compute the teacher's features of the clean picture;
2. normalise these features, subtract their mean and keep the leading principal components;
3. train the student to point in the same direction (cosine) from degraded copies of the picture:
   flipped, cropped, blurred, shrunk and enlarged again, recoloured, inverted, noisy.

Examples
--------
On two cores::

    OMP_NUM_THREADS=1 python benchmarks/train_backbone.py --workers 2 \\
        --images mini-imagenet tiny-imagenet-200/test tiny-imagenet-200/train \\
        --teacher mobilenetv2_100_imagenet.safetensors --work cache --out tiny.safetensors
"""

import argparse
import itertools
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

from skad.networks._tiny import tiny

SIZE = 64  # pixels of the stored pictures and of the student's input
TEACHER_SIZE = 128


def resize(x, size):
    """Antialiased bicubic resize of a float image batch to a square."""
    if x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bicubic", antialias=True).clamp(0, 255)


def load_teacher(path, device):
    """Teacher in bfloat16 whose batch normalisation is merged into its convolutions."""
    net = timm.create_model("mobilenetv2_100", num_classes=1001, pad_type="same").eval()
    net.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return merged(net).to(device, torch.bfloat16, memory_format=torch.channels_last)


def merged(net):
    """The network itself, its batch normalisation merged into its convolutions.

    That removes a third of the memory traffic, which is what the time goes into on a CPU.
    """
    for module in list(net.modules()):
        children = list(module.named_children())
        for (_, conv), (name, bn) in itertools.pairwise(children):
            if isinstance(conv, torch.nn.Conv2d) and isinstance(bn, torch.nn.BatchNorm2d):
                scale = (bn.weight / (bn.running_var + bn.eps).sqrt()).detach()
                conv.weight.data *= scale[:, None, None, None]
                conv.bias = torch.nn.Parameter(bn.bias.detach() - bn.running_mean * scale)
                setattr(module, name, bn.act)
    return net


def batches_of_files(folders, batch_size):
    """Yield the number of pictures and lists of them: float tensors (3, height, width), 0..255."""
    files = [p for folder in folders for p in sorted(Path(folder).rglob("*"))]
    files = [p for p in files if p.suffix.lower() in (".jpg", ".jpeg")]
    for i in range(0, len(files), batch_size):
        decoded = [np.asarray(Image.open(p).convert("RGB")) for p in files[i : i + batch_size]]
        yield len(files), [torch.from_numpy(a.copy()).permute(2, 0, 1).float() for a in decoded]


@torch.inference_mode()
def prepare(folders, teacher_path, work, device, batch_size=32):
    """Write ``images.npy`` (uint8) and ``teacher.npy`` (unit features, float16) into `work`."""
    if (work / "done").exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    teacher, start, images = load_teacher(teacher_path, device), 0, None
    for total, batch in batches_of_files(folders, batch_size):
        if images is None:
            new = np.lib.format.open_memmap
            images = new(work / "images.npy", "w+", np.uint8, (total, 3, SIZE, SIZE))
            features = new(work / "teacher.npy", "w+", np.float16, (total, 1280))
        stop = start + len(batch)
        small = torch.cat([resize(x[None], SIZE) for x in batch])
        images[start:stop] = small.round().byte().numpy()
        large = torch.cat([resize(x[None], TEACHER_SIZE) for x in batch]) / 127.5 - 1
        large = large.to(device, torch.bfloat16, memory_format=torch.channels_last)
        pooled = teacher.forward_head(teacher.forward_features(large), pre_logits=True)
        features[start:stop] = F.normalize(pooled.float(), dim=1).cpu().numpy()
        start = stop
        if start // batch_size % 100 == 0:
            print(f"teacher {start}/{total}", flush=True)
    (work / "done").touch()


def targets_of(work, dim):
    """Leading `dim` principal components of the teacher's unit features about their mean.

    Returns the targets and the components of the mean feature, both divided by one number that
    makes the targets' mean length 1.
    """
    features = torch.from_numpy(np.load(work / "teacher.npy")).float()
    mean = features.mean(0)
    features -= mean
    covariance = features.T @ features / len(features)
    axes = torch.linalg.eigh(covariance.double())[1].flip(1)[:, :dim].float()
    targets = features @ axes
    scale = targets.norm(dim=1).mean()
    return targets / scale, mean @ axes / scale


def uniform(n, low, high, rng):
    """Column of `n` draws that broadcasts over an image batch."""
    return low + (high - low) * torch.rand(n, 1, 1, 1, generator=rng)


def crop_and_flip(x, rng, smallest=0.75):
    """Random square window of each image (side `smallest` to 1), mirrored half of the time."""
    n = len(x)
    side = uniform(n, smallest, 1.0, rng)[:, 0, 0, 0]
    shift = (1 - side)[:, None] * (2 * torch.rand(n, 2, generator=rng) - 1)
    mirror = torch.randint(0, 2, (n,), generator=rng) * 2.0 - 1
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = side * mirror, side, shift
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def recolour(x, rng):
    """Change brightness, contrast and saturation; make some grey, some on black, some inverted."""
    n = len(x)
    grey = x.mean(1, keepdim=True)
    colour = uniform(n, 0.6, 1.3, rng) * (torch.rand(n, 1, 1, 1, generator=rng) > 0.2)
    x = grey + (x - grey) * colour
    centre = x.mean((1, 2, 3), keepdim=True)
    x = centre * uniform(n, 0.7, 1.3, rng) + (x - centre) * uniform(n, 0.6, 1.5, rng)
    # pushing the dark half to black imitates pictures of objects cut out on a black ground
    to_black = torch.rand(n, 1, 1, 1, generator=rng) < 0.07
    x = torch.where(to_black, (x - centre * uniform(n, 0.4, 1.1, rng)) * 1.8, x)
    x = x.clamp(0, 255)
    return torch.where(torch.rand(n, 1, 1, 1, generator=rng) < 0.05, 255 - x, x)


def degrade(x, rng, smallest=24, share=0.7):
    """Shrink parts of the batch and enlarge them again, as happens to images of 28 or 32 pixels."""
    parts = []
    for part in x.chunk(8):
        if torch.rand(1, generator=rng).item() < share:
            size = int(torch.randint(smallest, 49, (1,), generator=rng))
            part = resize(part, size)
            part = (part + 3 * torch.randn(part.shape, generator=rng)).clamp(0, 255)
            part = resize(part, SIZE)
        parts.append(part)
    return torch.cat(parts)


def learning_rate(progress, peak, warmup=0.05):
    """Linear warm-up, then half a cosine down to zero; `progress` runs from 0 to 1."""
    if progress < warmup:
        return peak * progress / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def save(net, path):
    """Write the parameters as float16 under a temporary name, then rename."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    state = {k: v.contiguous() for k, v in state.items() if not k.endswith("num_batches_tracked")}
    save_file(state, str(path) + ".tmp")
    os.replace(str(path) + ".tmp", path)


def orthogonalise(matrix, steps=5):
    """Nearest semi-orthogonal matrix, by the Newton-Schulz iteration of the Muon optimiser."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).float()


class Muon:
    """Momentum whose step is orthogonalised, for convolution weights (Jordan et al., 2024).

    Steps are scaled to the size AdamW's steps have, so that both share one learning rate.
    """

    def __init__(self, params, weight_decay, momentum=0.9):
        self.params, self.weight_decay, self.momentum = params, weight_decay, momentum
        self.averages = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def _update(self, p, average, rate):
        average.lerp_(p.grad, 1 - self.momentum)
        step = orthogonalise(p.grad.lerp(average, self.momentum).flatten(1))
        p.mul_(1 - rate * self.weight_decay)
        p.add_(step.view_as(p), alpha=-rate * 0.2 * max(step.shape) ** 0.5)

    def step(self, rate, pool):
        list(pool.map(self._update, self.params, self.averages, [rate] * len(self.params)))


def augment(images, seed, size):
    """Degraded copies of a uint8 batch, scaled to -1..1, `size` pixels wide."""
    rng = torch.Generator().manual_seed(seed)
    x = recolour(degrade(crop_and_flip(images.float(), rng), rng), rng)
    return resize(x, size) / 127.5 - 1


def gradients(net, params, images, goal, seed, size):
    """Gradients of the loss on a few images and the mean cosine between output and target."""
    device = goal.device
    x = augment(images, seed, size).to(device, memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16):
        out = net(x).float()
    cosine = F.cosine_similarity(out, goal).mean()
    # the small second term only fixes the length of the features, which the cosine leaves free
    loss = 1 - cosine + 0.1 * (out - goal).square().sum(1).mean()
    return torch.autograd.grad(loss, params), cosine.item()


def train_step(net, params, images, goal, seed, size, args, pool):
    """Gradients of one batch, left in the parameters; returns the mean cosine.

    The batch is cut into parts that single-threaded workers take as they become free: unlike
    parallel loops inside each operation, this never waits for a core that is busy elsewhere.
    """
    n = args.parts
    jobs = zip(images.chunk(n), goal.chunk(n), [seed * n + i for i in range(n)], strict=True)
    results = list(pool.map(lambda job: gradients(net, params, *job, size), jobs))
    for i, p in enumerate(params):
        p.grad = torch.stack([grads[i] for grads, _ in results]).mean(0)
    return np.mean([cosine for _, cosine in results])


def train(net, images, targets, args):
    """Fit `net` to the targets; the weights are saved after each epoch."""
    rng, pool = torch.Generator().manual_seed(args.seed), ThreadPoolExecutor(args.workers)
    net.to(args.device, memory_format=torch.channels_last).train()
    params = list(net.parameters())
    muon = Muon([p for p in params if p.ndim == 4], args.weight_decay)
    adam = torch.optim.AdamW([p for p in params if p.ndim < 4], weight_decay=0.0)
    per_epoch, step, start = len(images) // args.batch_size, 0, time.time()
    for epoch in range(args.epochs):
        order, cosines = torch.randperm(len(images), generator=rng), []
        for index in order[: per_epoch * args.batch_size].view(per_epoch, args.batch_size):
            # on a machine that is busy elsewhere the clock hurries the schedule on
            spent = (time.time() - start) / (60 * args.minutes)
            progress = max(step / (per_epoch * args.epochs), spent)
            if progress >= 1:
                break
            # most of the training is done on smaller images, which take half the time
            size = args.early_size if progress < args.early else SIZE
            batch, goal = torch.from_numpy(images[index.numpy()]), targets[index].to(args.device)
            cosines.append(train_step(net, params, batch, goal, step, size, args, pool))
            adam.param_groups[0]["lr"] = rate = learning_rate(progress, args.learning_rate)
            adam.step()
            muon.step(rate, pool)
            step += 1
            if step % 100 == 0:
                speed = step * args.batch_size / (time.time() - start)
                print(f"{step}: cosine {np.mean(cosines[-100:]):.4f}, {speed:.0f}/s", flush=True)
        save(net, args.out)
        print(f"epoch {epoch + 1}, step {step}: cosine {np.mean(cosines):.4f}", flush=True)
        if progress >= 1:
            break


def add_mean(net, mean, share):
    """Move the features by a share of the teacher's mean feature, through the last bias.

    Pictures that the student is unsure of have short features, whose directions are noise; the
    common summand keeps their mutual angles small.
    """
    with torch.no_grad():
        net.layer4[-1].bias += share * mean.to(net.layer4[-1].bias)


def main():
    """Read the command line, prepare the data and train."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--images", type=Path, nargs="+", required=True, help="folders of JPEG files, read deeply")
    add("--teacher", type=Path, required=True, help="safetensors, mobilenetv2_100, 1001 classes")
    add("--work", type=Path, required=True, help="folder for the cached pictures and features")
    add("--out", type=Path, required=True, help="safetensors file to write")
    add("--epochs", type=int, default=6)
    add("--minutes", type=float, default=math.inf, help="finish the schedule within this time")
    add("--batch-size", type=int, default=256)
    add("--learning-rate", type=float, default=3e-3)
    add("--weight-decay", type=float, default=0.05)
    add("--early", type=float, default=0.7, help="share of the schedule on smaller images")
    add("--early-size", type=int, default=48)
    add("--mean-share", type=float, default=0.5, help="share of the mean feature to add back")
    add("--workers", type=int, default=1, help="threads; with several, set OMP_NUM_THREADS=1")
    add("--parts", type=int, default=8, help="parts of a batch, each normalised by itself")
    add("--seed", type=int, default=0)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    prepare(args.images, args.teacher, args.work, args.device)
    with torch.random.fork_rng():
        torch.manual_seed(args.seed)
        net = tiny()
    targets, mean = targets_of(args.work, net.num_features)
    train(net, np.load(args.work / "images.npy", mmap_mode="r"), targets, args)
    add_mean(net, mean, args.mean_share)
    save(net, args.out)


if __name__ == "__main__":
    main()

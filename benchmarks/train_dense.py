"""Train the bundled network for inspection by distilling the maps of larger frozen ones.

The student (``skad.networks._dense.tiny_dense``) learns from unlabelled pictures to have, at every
place, the features that teachers trained on ImageNet have there.  What it sees is a window of what
they see, so that at its edges it learns what is beyond; teachers fill up with zeros, and corners of
their maps stand out.

1. Each teacher's maps of an eighth, a sixteenth and a thirty-second of the picture's side are
   centred and divided by one number, such that each counts alike; of all teachers together the
   leading principal components are the targets.
2. Windows of photographs and textures, mosaics of small pictures, and made-up textures are
   recoloured, many of them grey; small spots, lines and patches are pasted into them.
3. The student is trained on the squared error relative to the targets' variance.

Examples
--------
On one core::

    OMP_NUM_THREADS=1 python -m benchmarks.train_dense --photographs imagenet-sample bsds dtd \\
        --small mini-imagenet --mobilenetv2 mobilenetv2_100_imagenet.safetensors \\
        --lite lite0.safetensors lite2.safetensors --minutes 60 --out tiny_dense.safetensors
"""

import argparse
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

from skad.networks._dense import tiny_dense

from .train_backbone import Muon, learning_rate, merged, recolour, save, uniform

# Pixels of the student's windows, and of what is around them for the teachers.
WINDOW, MARGIN = 128, 16

# Steps in which a batch is seen; what teachers say of it costs as much as a step.
TIMES, KEPT = 3, 24

# Modules of timm's EfficientNets and MobileNets that end a resolution.
TAPS, STRIDES = ("blocks.2", "blocks.4", "blocks.6"), (8, 16, 32)


class Teachers:
    """Frozen networks, and the principal components of their maps."""

    def __init__(self, networks):
        networks = [merged(net.eval()) for net in networks]
        self.networks = [n.to(torch.bfloat16, memory_format=torch.channels_last) for n in networks]
        self._bases = None

    @torch.inference_mode()
    def maps(self, images):
        """Maps of all teachers at each of three resolutions, as they are."""
        found, images = [], images.bfloat16()
        for net in self.networks:
            x, own = net.bn1(net.conv_stem(images)), []
            for index, block in enumerate(net.blocks):
                x = block(x)
                if f"blocks.{index}" in TAPS:
                    own.append(x)
            found.append(own)
        return [list(level) for level in zip(*found)]

    def learn(self, batches, widths):
        """Take means, scales and principal components from batches of images."""
        levels = None
        for images in batches:
            found = self.maps(images)
            levels = [[[] for _ in level] for level in found] if levels is None else levels
            for level, parts in zip(found, levels):
                for one, part in zip(level, parts):
                    part.append(one.float().flatten(2).transpose(1, 2).flatten(0, 1))
        self._bases = []
        for level, width in zip(levels, widths):
            rows = [torch.cat(part) for part in level]
            means = [one.mean(0) for one in rows]
            scales = [(one - mean).square().sum(1).mean().sqrt() for one, mean in zip(rows, means)]
            joined = torch.cat([(r - m) / s for r, m, s in zip(rows, means, scales)], 1)
            joined /= len(rows) ** 0.5  # all teachers together have variance one
            values, axes = torch.linalg.eigh((joined.T @ joined / len(joined)).double())
            kept = values.flip(0)[:width].sum() / values.sum()
            print(f"{joined.shape[1]} channels, {width} components: {kept:.3f}", flush=True)
            self._bases.append((means, scales, axes.flip(1)[:, :width].float()))

    @torch.inference_mode()
    def targets(self, images):
        """Principal components of the maps, (n, width, height, width) at each resolution."""
        found = []
        for level, (means, scales, axes) in zip(self.maps(images), self._bases):
            parts = [
                (one.float() - mean[:, None, None]) / scale
                for one, mean, scale in zip(level, means, scales)
            ]
            joined = torch.cat(parts, 1) / len(parts) ** 0.5
            found.append(torch.einsum("nchw,cd->ndhw", joined, axes))
        return found


def teacher(name, path):
    """A network of timm with weights from a file."""
    if name == "mobilenetv2_100":
        net = timm.create_model(name, num_classes=1001, pad_type="same")
    else:
        net = timm.create_model(name)
    net.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return net


class Pictures:
    """Windows of photographs, mosaics and made-up textures."""

    def __init__(self, photographs, small, rng):
        self.large = [self._read(path) for path in _files(photographs)]
        self.small = _files(small)
        self.rng = rng
        print(f"{len(self.large)} large and {len(self.small)} small pictures", flush=True)

    @staticmethod
    def _read(path):
        return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1)

    def _draw(self, low, high):
        return int(torch.randint(low, high, (1,), generator=self.rng))

    def _window(self, size):
        picture = self.large[self._draw(0, len(self.large))]
        height, width = picture.shape[1:]
        scale = math.exp(float(uniform(1, math.log(0.5), math.log(2.5), self.rng)))
        side = min(int(size * scale), height, width)
        top, left = self._draw(0, height - side + 1), self._draw(0, width - side + 1)
        part = picture[None, :, top : top + side, left : left + side].float()
        return F.interpolate(part, (size, size), mode="bicubic", antialias=True)[0]

    def _mosaic(self, size):
        side = size // 2
        parts = [self._read(self.small[self._draw(0, len(self.small))]) for _ in range(4)]
        parts = [F.interpolate(p[None].float(), (side, side), mode="bicubic")[0] for p in parts]
        return torch.cat([torch.cat(parts[:2], 2), torch.cat(parts[2:], 2)], 1)

    def _texture(self, size):
        """Noise of some width, on some grid, at times in two tones: metal, cloth, boards."""
        kind, rng = self._draw(0, 4), self.rng
        grain = [self._draw(3, size // 2), self._draw(3, size // 2)]
        noise = torch.randn(1, 1, *grain, generator=rng)
        noise = F.interpolate(noise, (size, size), mode="bicubic" if kind else "nearest")[0]
        if kind == 2:
            noise = torch.sign(noise)
        elif kind == 3:
            ways = torch.arange(size) * float(uniform(1, 0.1, 1.5, rng))
            across = torch.sin(ways + 6 * float(uniform(1, 0, 1, rng)))
            noise = noise * 0.3 + (across[None, :, None] if self._draw(0, 2) else across)
        level, contrast = float(uniform(1, 60, 200, rng)), float(uniform(1, 5, 60, rng))
        fine = float(uniform(1, 0, 10, rng)) * torch.randn(1, size, size, generator=rng)
        return (level + contrast * noise + fine).expand(3, -1, -1)

    def batch(self, n, size):
        """Windows, 0 to 255, (n, 3, size, size)."""
        makers = (self._window, self._window, self._window, self._window, self._mosaic)
        makers += (self._texture,)
        found = torch.stack([makers[i % len(makers)](size) for i in range(n)]).clamp_(0, 255)
        found = recolour(found, self.rng)
        grey = torch.rand(n, 1, 1, 1, generator=self.rng) < 0.4
        found = torch.where(grey, found.mean(1, keepdim=True), found)
        for one in found:
            for _ in range(self._draw(0, 4)):
                self._paste(one, found)
        return found.add_(2 * torch.randn(found.shape, generator=self.rng)).clamp_(0, 255)

    def _paste(self, picture, others):
        """A spot, a line or a patch of another picture, somewhere in a picture."""
        size, kind = picture.shape[-1], self._draw(0, 3)
        if kind == 2:
            height, width = self._draw(4, size // 4), self._draw(4, size // 4)
            other = others[self._draw(0, len(others))]
            tops = [self._draw(0, size - height) for _ in range(2)]
            lefts = [self._draw(0, size - width) for _ in range(2)]
            part = other[:, tops[0] : tops[0] + height, lefts[0] : lefts[0] + width].clone()
            picture[:, tops[1] : tops[1] + height, lefts[1] : lefts[1] + width] = part
            return
        ys, xs = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        y, x = self._draw(0, size), self._draw(0, size)
        angle, breadth = (
            3.15 * float(uniform(1, 0, 1, self.rng)),
            float(uniform(1, 0.7, 4, self.rng)),
        )
        along = (ys - y) * math.sin(angle) + (xs - x) * math.cos(angle)
        across = (xs - x) * math.sin(angle) - (ys - y) * math.cos(angle)
        length = float(uniform(1, 5, size / 3, self.rng)) if kind else 2 * breadth
        inside = (1 + breadth - across.abs()).clamp(0, 1) * (1 + length - along.abs()).clamp(0, 1)
        tone = (self._draw(0, 256) - picture) * float(uniform(1, 0.2, 1, self.rng))
        picture += tone * inside


def _files(folders):
    files = [p for folder in folders for p in sorted(Path(folder).rglob("*"))]
    return [p for p in files if p.suffix.lower() in (".jpg", ".jpeg")]


def _scaled(images):
    return (images / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _central(level, stride):
    """What the student sees of the teachers' maps."""
    first, side = MARGIN / stride, WINDOW // stride
    if first == int(first):
        first = int(first)
        return level[..., first : first + side, first : first + side]
    # Half a pixel off: the mean of the four around.
    return F.avg_pool2d(level, 2, 1)[..., :side, :side]


def loss_of(net, images, targets):
    """Squared error of the student's maps at each resolution; their variance is one."""
    with torch.autocast("cpu", torch.bfloat16):
        found = net.maps(images)
    return [(a.float() - b).square().sum(1).mean() for a, b in zip(found, targets)]


def train(net, pictures, teachers, args):
    """Fit the student until the time is up."""
    net.to(memory_format=torch.channels_last).train()
    params = list(net.parameters())
    muon = Muon([p for p in params if p.ndim == 4], args.weight_decay)
    adam = torch.optim.AdamW([p for p in params if p.ndim < 4], weight_decay=0.0)
    pool, ahead = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    size, start, step, losses, kept = WINDOW + 2 * MARGIN, time.time(), 0, [], []

    def prepare():
        images = _scaled(pictures.batch(args.batch_size, size))
        return _window(images), [_central(t, s) for t, s in zip(teachers.targets(images), STRIDES)]

    order = torch.Generator().manual_seed(args.seed)
    following = ahead.submit(prepare)
    while (progress := (time.time() - start) / (60 * args.minutes)) < 1:
        if following.done() or not kept:
            kept.append([0, *following.result()])
            following = ahead.submit(prepare)
        # Those that were seen the least, by chance among them.
        chosen = min(kept[-KEPT:], key=lambda one: one[0] + float(torch.rand(1, generator=order)))
        kept = [one for one in kept[-KEPT:] if one is not chosen or one[0] + 1 < TIMES]
        chosen[0] += 1
        parts = loss_of(net, chosen[1].clone(), [target.clone() for target in chosen[2]])
        for p in params:
            p.grad = None
        sum(parts).backward()
        rate = adam.param_groups[0]["lr"] = learning_rate(progress, args.learning_rate)
        adam.step()
        muon.step(rate, pool)
        losses.append([float(part.detach()) for part in parts])
        step += 1
        if step % 50 == 0:
            told = " ".join(f"{value:.4f}" for value in np.mean(losses[-50:], axis=0))
            print(f"{step}, {progress:.3f}: error {told}", flush=True)
        if step % 500 == 0:
            save(net, args.out)
    ahead.shutdown(cancel_futures=True)
    save(net, args.out)


def _window(images):
    return images[..., MARGIN:-MARGIN, MARGIN:-MARGIN].clone(memory_format=torch.channels_last)


def main():
    """Read the command line, prepare the teachers and train."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--photographs", type=Path, nargs="+", required=True, help="folders of JPEG files")
    add("--small", type=Path, nargs="+", required=True, help="folders of small ones, for mosaics")
    add("--mobilenetv2", type=Path, help="weights of timm's mobilenetv2_100, 1001 classes")
    add("--lite", type=Path, nargs="*", default=[], help="lite0.safetensors, lite2.safetensors")
    add("--out", type=Path, required=True, help="safetensors file to write")
    add("--minutes", type=float, default=60)
    add("--batch-size", type=int, default=48)
    add("--learning-rate", type=float, default=3e-3)
    add("--weight-decay", type=float, default=0.02)
    add("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = torch.Generator().manual_seed(args.seed)
    pictures = Pictures(args.photographs, args.small, rng)
    networks = [teacher(f"tf_efficientnet_{path.stem}", path) for path in args.lite]
    if args.mobilenetv2:
        networks.append(teacher("mobilenetv2_100", args.mobilenetv2))
    teachers = Teachers(networks)
    with torch.random.fork_rng():
        torch.manual_seed(args.seed)
        net = tiny_dense()
    widths = (net.map2.out_channels, net.map3.out_channels, net.num_features)
    some = (_scaled(pictures.batch(48, WINDOW + 2 * MARGIN)) for _ in range(8))
    teachers.learn(some, widths)
    train(net, pictures, teachers, args)


if __name__ == "__main__":
    main()

"""The object in front is told from its background."""

import numpy as np
import torch

from skad.maps import CoresetPixels
from skad.maps._foreground import Foreground, _otsu


def pictures(n=4, seed=0):
    """Maps of a disc, whose pixels differ from those around it."""
    rng = np.random.RandomState(seed)
    rows, columns = np.mgrid[:12, :12]
    disc = np.hypot(rows - 5.5, columns - 5.5) < 4
    maps = 0.3 * rng.normal(size=(n, 6, 12, 12))
    maps[:, :3] += np.where(disc, 2.0, -2.0)
    return torch.from_numpy(maps.astype(np.float32)), disc


def slow_otsu(values):
    edges = np.histogram(values, bins=128)[1]
    best = []
    for edge in edges[1:-1]:
        low, high = values[values <= edge], values[values > edge]
        apart = (low.mean() - high.mean()) ** 2 if len(low) and len(high) else 0
        best.append(len(low) * len(high) * apart)
    return edges[1:-1][np.argmax(best)]


def test_otsu():
    rng = np.random.RandomState(0)
    values = np.r_[rng.normal(0, 1, 500), rng.normal(6, 1, 300)]
    width = np.ptp(values) / 128
    assert abs(_otsu(values) - slow_otsu(values)) <= 2 * width


def test_the_object_is_in_the_middle_whatever_the_sign():
    maps, disc = pictures()
    for sign in (1, -1):
        mask = Foreground(sign * maps).of(sign * maps).view(-1, 12, 12).numpy()
        assert (mask == disc).mean() > 0.99


def test_where_nothing_is_in_front_all_counts():
    maps, _ = pictures()
    front = Foreground(maps)
    background = maps[..., :1, :1].expand(-1, -1, 12, 12)
    assert front.of(background).all()


def test_the_background_is_neither_kept_nor_found_abnormal():
    maps, disc = pictures()
    gallery = CoresetPixels(foreground="component", coreset_share=0.2, patch_size=1)
    gallery.begin(len(maps), "test").add(0, [maps])
    gallery.complete()
    assert (gallery.pixels_[0][:, 0] > 0).all()
    new, _ = pictures(2, seed=1)
    new[0, 3:, 0, 0] += 5  # beside the object
    new[1, 3:, 6, 6] += 5
    (found,) = gallery.distances([new], None)
    assert (found[:, ~torch.from_numpy(disc)] == 0).all()
    assert int(found[1].argmax()) == 6 * 12 + 6
    peaks = gallery.peaks([new])
    assert peaks[1] > 3 * peaks[0]

"""Moments at places: those of parts add up to those of all, on whatever device."""

import pytest
import torch

from skad.maps._place_moments import PlaceMoments

NAMES = ("mean", "scatter", "cubic", "quartic")


def moments_of(*batches):
    moments = PlaceMoments(5, 4, torch.device("cpu"))
    for rows in batches:
        moments.add(rows)
    return moments


@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_sums_of_parts_are_those_of_all(shift):
    rng = torch.Generator().manual_seed(0)
    parts = [torch.randn(5, n, 4, generator=rng) + shift * i for i, n in enumerate((30, 2, 17))]
    whole, (one, two, three) = moments_of(torch.cat(parts, 1)), map(moments_of, parts)
    before = one.scatter.clone()
    for found in (one + two + three, three + (two + one), moments_of() + one + moments_of() + two):
        expected = whole if found.count == 49 else moments_of(*parts[:2])
        assert found.count == expected.count
        for name in NAMES:
            wanted = getattr(expected, name)
            apart = (getattr(found, name) - wanted).abs().max()
            assert apart <= 1e-4 * wanted.abs().max(), name
        assert (found.ledoit_wolf() - expected.ledoit_wolf()).abs().max() < 1e-3
    assert torch.equal(one.scatter, before), "terms stay as they were"

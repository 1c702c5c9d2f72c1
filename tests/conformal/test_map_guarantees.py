"""The promise of ConformalMapDetector, over many calibration sets."""

import numpy as np
import pytest

from .common import calibrated, noise

RATES = np.array([0.01, 0.05, 0.1])
N_SPLITS, N_RANKED, N_SETTING, N_TEST = 100, 99, 20, 40


def lowest_p_values(table, n_images):
    lowest = np.ones(n_images)
    np.minimum.at(lowest, table["image"], table["p_value"])
    return lowest


@pytest.fixture(scope="module")
def p_values():
    """Of new normal images, by pixels and by regions, a row for each calibration set."""
    found = {"pixels": [], "regions": []}
    for seed in range(N_SPLITS):
        rng = np.random.RandomState(seed)
        detector = calibrated(
            noise(N_RANKED + N_SETTING, rng), region_threshold=0.05, random_state=seed
        )
        new = noise(N_TEST, rng)
        found["pixels"].append([one.min() for one in detector.p_value_maps(new)])
        found["regions"].append(lowest_p_values(detector.predict_regions(new), N_TEST))
    return {way: np.array(rows) for way, rows in found.items()}


@pytest.mark.parametrize(("way", "n"), [("pixels", N_RANKED + N_SETTING), ("regions", N_RANKED)])
def test_images_with_a_false_alarm_are_as_many_as_was_asked_for(way, n, p_values):
    """Given a calibration set, the rate has a beta distribution, and the count is binomial."""
    rate = (p_values[way][:, :, None] <= RATES).mean(axis=(0, 1))
    exact = np.floor(RATES * (n + 1) + 1e-9) / (n + 1)
    error = np.sqrt(RATES * (1 - RATES) * (1 / (n + 2) + 1 / N_TEST) / N_SPLITS)
    assert (error < 0.007).all(), "else this shows nothing"
    assert (rate < RATES + 3.5 * error).all(), f"{rate} +- {error}"
    # Scores, and the masses of the few images that matter, are not tied.
    assert (rate > exact - 3.5 * error).all(), f"{rate} +- {error}"


def test_few_of_the_images_found_in_a_batch_are_normal():
    n_normal, n_odd, proportions, found = 40, 20, {}, {}
    for seed in range(20):
        rng = np.random.RandomState(seed)
        detector = calibrated(noise(170, rng), region_threshold=0.05, random_state=seed)
        batch = noise(n_normal + n_odd, rng)
        batch[n_normal:, 2:10, 2:10] += 3
        for q in (0.05, 0.1, 0.3):
            table = detector.predict_regions(batch, false_discovery_rate=q)
            flagged = np.unique(table["image"][table["defect"]])
            n_false = (flagged < n_normal).sum()
            proportions.setdefault(q, []).append(n_false / max(1, len(flagged)))
            found.setdefault(q, []).append((len(flagged) - n_false) / n_odd)
    for q, values in proportions.items():
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        assert np.mean(values) < q * n_normal / (n_normal + n_odd) + 3.5 * error
        assert np.mean(found[q]) > 0.5
    assert np.mean(proportions[0.3]) > 0.1, "the procedure is not idle"

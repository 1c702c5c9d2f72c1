"""What a report tells of thresholds, models and neighbours is what the model holds."""

import hashlib
import re

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import skad
from skad import DN2, ImageDetector, KNNScorer
from skad.report import write_report
from skad.report._heat import COLORS, LINE, border, color_table, heat_over
from skad.report._histogram import bars_of, draw_histogram
from skad.report._nearest import NearestNormal
from skad.report._promise import promises

from .common import Page, picture_of


def told_of(detector):
    return " ".join(" ".join(promises(detector)).split())


def test_bars_hold_every_score_once():
    rng = np.random.default_rng(0)
    for scores in (
        rng.normal(size=500),
        np.array([0.0]),
        np.array([-3.0, -3.0]),
        np.array([-1e-18, 0.0, 1e-18, 1e6]),
        np.array([-5e-324, 100.0]),
        rng.normal(7, 1e-9, 40),
    ):
        edges, counts = bars_of(scores)
        assert counts.sum() == len(scores)
        assert 0 in edges
        assert counts[edges[1:] <= 0].sum() == (scores < 0).sum(), "no bar is of both kinds"
        assert len(counts) <= 100
        drawn = re.findall(r"<title>(\d+) pictures? from", draw_histogram(scores))
        assert sum(map(int, drawn)) == len(scores)


def test_the_histogram_tells_the_threshold():
    svg = draw_histogram(np.array([-1.0, 0.5, 1.0, 2.0]))
    assert "4 scores from -1 to 2; 1 below the threshold, 0, and 3 not." in svg
    assert svg.count('class="threshold"') == 1
    assert svg.count('fill="url(#hatch)"') == 1


def test_promises_of_a_split(split):
    told = told_of(split)
    n = len(split.calibration_scores_[0])
    assert n == 4
    assert "calibrated with 4 normal pictures" in told
    assert "called an anomaly with a probability of at most 25 %, whatever the detector." in told
    assert f"score by the detector is below {split.offset_:.6g}." in told
    assert "with one set of 4 the rate varies around it by about 21.7 %." in told
    assert "never below 1 / (4 + 1) = 0.2" in told
    assert "exchangeable" in told


def test_promises_of_a_cross(cross):
    told = told_of(cross)
    n = sum(map(len, cross.calibration_scores_))
    assert n == 16
    assert f"at most {100 * (2 * 0.2 + 2 * (2 - 1) / (16 + 2)):.4g} %" in told
    assert "about 20 % in practice" in told
    assert "whatever the detector" not in told
    assert "below 1 / (16 + 1)" in told


def test_promises_of_pixels(place, tmp_path):
    inner = skad.PatchCore(image_size=32, n_threshold_images=4)
    detector = skad.ConformalMapDetector(inner, false_alarm_rate=0.4, calibration_share=0.3)
    told = told_of(detector.fit(place.normal))
    assert "calibrated with 5 normal pictures" in told
    assert "called an anomaly with a probability of at most 40 %, whatever the detector." in told
    assert f"where its lowest pixel by the detector is below {detector.offset_:.6g}." in told
    assert "called an anomaly exactly where it has an outline" in told
    path = tmp_path / "r.html"
    write_report(detector, place.new, path, normal=place.normal)
    assert "PatchCore, calibrated by ConformalMapDetector" in Page(path).said


def test_promises_without_calibration(dn2, spade, place):
    told = told_of(dn2)
    assert f"score is {dn2.offset_:.6g}" in told
    assert "40 % of them are below" in told
    assert "nothing that is proven" in told
    assert "pixels whose score" not in told
    told = told_of(spade)
    assert f"pixels whose score is below {spade.pixel_offset_:.6g}" in told
    assert "1 % of the pixels of normal pictures" in told
    own = skad.SPADE(n_neighbors=2, mask_false_alarm_rate=0.25, contamination=0.2)
    told = told_of(own.fit(place.normal))
    assert "At most 25 % of up to 20 normal pictures" in told
    assert "20 % of them are below" in told
    peak = skad.PatchCore(image_size=32, contamination=0.3).fit(place.normal)
    assert "normal pictures drawn from those of the fit: 30 % of them are below" in told_of(peak)


def test_pipelines_are_told_as_well(place, tmp_path):
    readable, path = place.new[:-1], tmp_path / "r.html"
    calibrated = skad.ConformalDetector(KNNScorer(), false_alarm_rate=0.25)
    for scorer, said in ((KNNScorer(), "10 % of them are below"), (calibrated, "at most 25 %")):
        pipeline = make_pipeline(skad.FeatureExtractor(), scorer).fit(place.normal)
        counts = write_report(pipeline, readable, path, normal=place.normal)
        assert sum(counts.values()) == len(readable)
        assert said in Page(path).said


def test_maps_within_a_calibrated_detector(place, tmp_path):
    detector = skad.SPADE(n_neighbors=2, n_threshold_images=4)
    calibrated = skad.ConformalDetector(detector, method="cross", n_folds=2, false_alarm_rate=0.2)
    path = tmp_path / "r.html"
    write_report(calibrated.fit(place.normal), place.new, path, normal=place.normal)
    page = Page(path)
    assert "by the first of the detectors" in page.said
    heat = [image for image in page.attributes("img") if image["alt"].startswith("Heat map")]
    assert len(heat) == len(place.new) - 1


def test_what_pollution_costs(place):
    polluted = skad.ConformalDetector(DN2(), false_alarm_rate=0.3, pollution=0.25).fit(place.normal)
    assert "25 % of the calibration, were dropped" in told_of(polluted)


def test_the_model_is_told(split, place, tmp_path):
    model, path = tmp_path / "m<1>.skad", tmp_path / "r.html"
    skad.save(split, model)
    write_report(skad.load(model), place.new, path, model=model)
    said = Page(path).said
    assert "m<1>.skad" in said
    assert hashlib.sha256(model.read_bytes()).hexdigest() in said
    assert skad.describe(model)["networks"][0]["digest"] in said
    assert "DN2, calibrated by ConformalDetector" in said
    assert "DN2.image_size = 32" in said
    assert "Pictures of the fit 12 Pictures of the calibration 4" in said
    import torch

    assert f"torch {torch.__version__.split('+')[0]}" in said
    write_report(split, place.new, path)
    assert skad.describe(model)["networks"][0]["digest"] in Page(path).said, "without the file"


def test_nearest_are_those_of_the_scorer(dn2, place):
    nearest = NearestNormal(dn2, place.normal)
    assert nearest.same
    new = place.new[:4]
    features, scorer = dn2.pipeline_[0].transform(new), dn2.pipeline_[-1]
    distances, indices = scorer.kneighbors(features, 3)
    for found, row, places in zip(nearest.find(new), distances, indices):
        assert [path for path, _ in found] == [place.normal[i] for i in places]
        np.testing.assert_allclose([d for _, d in found], row, rtol=1e-5)
    # in another order, with some that the model does not know, and one that can't be read
    others = [*place.normal[::-1], place.new[5]]
    nearest = NearestNormal(dn2, [*others[:4], place.new[-1], *others[4:]])
    assert not nearest.same
    gallery = dn2.pipeline_[0].transform(others)
    expected = clone(scorer).fit(gallery).kneighbors(features, 3)[1]
    found = [[path for path, _ in one] for one in nearest.find(new)]
    assert found == [[others[i] for i in row] for row in expected]


def test_a_picture_is_not_near_itself(dn2, place, tmp_path):
    (found,) = NearestNormal(dn2, place.normal).find(place.normal[:1])
    assert place.normal[0] not in [path for path, _ in found]
    assert len(found) == 3
    twice = [*place.normal, place.normal[0]]  # as of two folders that overlap
    (found,) = NearestNormal(dn2, twice).find(place.normal[:1])
    assert place.normal[0] not in [path for path, _ in found]
    few = place.normal[:2]
    assert [[path for path, _ in one] for one in NearestNormal(dn2, few).find(few)] == [
        [few[1]],
        [few[0]],
    ]


def test_likely_anomalies_are_no_neighbours_in_a_report(place):
    polluted = DN2(image_size=32, pollution=0.45).fit(place.normal[:5])
    dropped = np.array(place.normal[:5])[~polluted.pipeline_["scorer"].inlier_mask_]
    found = NearestNormal(polluted, place.normal[:5]).find(place.new[:2])
    assert [len(one) for one in found] == [2, 2]
    assert not {path for one in found for path, _ in one} & set(dropped)


@pytest.mark.parametrize("metric", ["mahalanobis", "angle"])
def test_neighbours_by_other_means(metric, place):
    by_neighbors = DN2(metric=metric, n_neighbors=1, n_centroids=None).fit(place.normal)
    assert NearestNormal(by_neighbors, place.normal).metric == metric
    assert len(NearestNormal(by_neighbors, place.normal[:9]).find(place.new[:1])[0]) == 3
    other = ImageDetector(scorer=skad.GaussianScorer()).fit(place.normal)
    nearest = NearestNormal(other, place.normal)
    assert "The detector itself decides by other means." in nearest.told
    assert nearest.metric == "euclidean"


def test_neighbours_are_shown_beside_anomalies_alone(dn2, place, tmp_path):
    path = tmp_path / "r.html"
    counts = write_report(dn2, place.new, path, normal=place.normal)
    page = Page(path)
    near = [image for image in page.attributes("img") if image["alt"].startswith("Normal picture")]
    assert len(near) == 3 * counts["anomaly"]
    assert "16 that the model was fitted on, by the mahalanobis_cosine distance" in page.said
    write_report(dn2, place.new, path)
    assert "Give their folder by --normal" in Page(path).said


def test_borders_of_masks():
    mask = np.zeros((9, 9), dtype=bool)
    mask[2:7, 3:8] = True
    mask[0, 0] = True
    expected = mask.copy()
    expected[3:6, 4:7] = False  # what has the mask on all four sides
    np.testing.assert_array_equal(border(mask), expected)
    assert not border(np.ones((4, 4), dtype=bool)).any(), "the edge of a picture is no border"
    assert not border(np.zeros((4, 4), dtype=bool)).any()


def test_heat_is_dark_where_it_is_normal():
    table = color_table()
    assert [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in table[[0, -1]]] == [COLORS[0], COLORS[-1]]
    lightness = table @ [0.299, 0.587, 0.114]
    assert (np.diff(lightness) > 0).mean() > 0.9
    grey, clear = np.zeros((1, 3), dtype=np.uint8), np.zeros((1, 3), dtype=bool)
    heat = heat_over(grey, np.array([[0.0, -1.0, -9.0]]), clear, (0.0, 2.0))
    assert heat[0].sum(axis=1).tolist() == sorted(heat[0].sum(axis=1))
    np.testing.assert_array_equal(heat[0, 2], (0.6 * table[-1]).round())


def test_outlines_are_the_border_of_the_mask(spade, place, tmp_path):
    new = place.new[:-1]
    path = tmp_path / "r.html"
    write_report(spade, new, path)
    images = {image["alt"]: image for image in Page(path).attributes("img")}
    outlined = 0
    for name, mask in zip(new, spade.predict_masks(new)):
        pixels, _ = picture_of(images[f"Heat map of {name}"])
        k = len(pixels) // len(mask)
        mask = mask.repeat(k, axis=0).repeat(k, axis=1)
        near = np.abs(pixels.astype(float) - LINE).sum(axis=2) < 200  # JPEG blurs a bit
        expected = border(mask)
        outlined += expected.any()
        if expected.any():
            assert near[expected].mean() > 0.9
        assert near[~expected].mean() < 0.02
    assert outlined > 1


def test_pictures_of_all_kinds_are_seen_as_the_detector_sees_them(dn2, tmp_path):
    rng = np.random.default_rng(0)
    grey = (np.linspace(0, 255, 60 * 40).reshape(60, 40)).astype(np.uint8)
    kinds = {
        "16.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "8.png": Image.fromarray(grey),
        "p.png": Image.fromarray(grey).convert("P"),
        "cmyk.jpg": Image.fromarray(np.stack([grey] * 3, axis=2)).convert("CMYK"),
    }
    for name, image in kinds.items():
        image.save(tmp_path / name)
    turned = Image.fromarray(grey.T)
    exif = turned.getexif()
    exif[0x0112] = 5  # by which the reader has to transpose it
    turned.save(tmp_path / "exif.png", exif=exif)
    big = Image.fromarray(rng.integers(0, 256, (40, 60), dtype=np.uint8)).resize((6000, 4000))
    big.save(tmp_path / "big.jpg")
    names = [*kinds, "exif.png", "big.jpg"]
    path = tmp_path / "r.html"
    write_report(dn2, [str(tmp_path / name) for name in names], path)
    images = {image["alt"]: image for image in Page(path).attributes("img")}
    for name in names[:-1]:
        pixels, _ = picture_of(images[f"Picture {tmp_path / name}"])
        k = len(pixels) // 60
        pixels = pixels if pixels.ndim == 2 else pixels.mean(axis=2)
        small = pixels.reshape(60, k, 40, k).mean(axis=(1, 3))
        assert np.abs(small - grey).mean() < 6, name
    assert picture_of(images[f"Picture {tmp_path / 'big.jpg'}"])[0].shape[:2] == (213, 320)

"""Graphs in files: ONNX Runtime and torch give the detector's scores; nothing is half written."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

import skad
from skad import DN2, SPADE, ConformalDetector
from skad.backbones import small_cnn
from skad.cli import main
from skad.export import ExportError, to_onnx, to_torch

ROOT = Path(__file__).parents[2]
CNN = {"backbone": partial(small_cnn, width=8, image_size=16), "weights": None}


@pytest.fixture(scope="module")
def calibrated(tiles, tmp_path_factory):
    """A calibrated detector with the network that comes with skad, as model and as ONNX."""
    place = tmp_path_factory.mktemp("export")
    detector = ConformalDetector(DN2(image_size=32, metric="cosine"), false_alarm_rate=0.2)
    detector.fit(tiles[24:])
    skad.save(detector, place / "a.skad")
    assert to_onnx(detector, place / "a.onnx") < 1e-4
    return place, detector


def run_onnx(path, pixels):
    session = onnxruntime.InferenceSession(path)
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(None, {"pixels": pixels})))


def test_onnx_gives_scores_decisions_and_p_values(calibrated, tiles):
    place, detector = calibrated
    for size in ((47, 48), (31, 97), (700, 400)):
        pictures = np.stack(
            [np.asarray(Image.fromarray(one).resize(size[::-1])) for one in tiles[22:27]]
        )
        found = run_onnx(place / "a.onnx", pictures)
        scores, p_values = detector.decide(pictures)
        np.testing.assert_allclose(found["score"], scores, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(found["anomaly"], scores < 0)
        np.testing.assert_allclose(found["p_value"], p_values)
    assert {*found["anomaly"].tolist()} == {True, False}


def test_onnx_tells_what_it_is(calibrated):
    place, detector = calibrated
    model = onnx.load(place / "a.onnx")
    onnx.checker.check_model(model, full_check=True)
    told = {one.key: one.value for one in model.metadata_props}
    assert told["skad.detector"] == "ConformalDetector"
    assert float(told["skad.offset"]) == detector.offset_
    assert float(told["skad.false_alarm_rate"]) == 0.2
    assert len(told["skad.digest"]) == 32
    (pixels,) = model.graph.input
    sides = [d.dim_param or d.dim_value for d in pixels.type.tensor_type.shape.dim]
    assert sides == ["n", "height", "width", 3]


def test_the_example_needs_no_skad(calibrated, tiles, tmp_path):
    place, detector = calibrated
    example = ROOT / "examples" / "run_onnx.py"
    code = [line for line in example.read_text().split('"""')[2].splitlines() if line.strip()]
    assert len(code) <= 30
    picture = np.ascontiguousarray(tiles[3, :40])
    Image.fromarray(picture).save(tmp_path / "ü.ppm")
    guard = "import sys; sys.modules |= {n: None for n in ('skad', 'torch', 'sklearn', 'PIL')}\n"
    run = f"import runpy; sys.argv[1:] = {[str(place / 'a.onnx'), 'ü.ppm']!r}\n"
    run += f"runpy.run_path({str(example)!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", guard + run], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (score,) = detector.decision_function(picture[None])
    decision = "anomaly" if score < 0 else "normal"
    assert done.stdout.splitlines()[1] == f"ü.ppm: {score:.4f} {decision}"


def test_maps_at_the_size_of_the_picture(tiles, tmp_path):
    detector = SPADE(n_neighbors=3, n_centroids=6, layers=["layer1", "layer3"], **CNN).fit(tiles)
    pictures = np.repeat(tiles[3:5], 2, axis=1)
    expected = detector.score_maps(pictures)
    assert to_onnx(detector, tmp_path / "m.onnx", pictures=[*tiles[:8]]) < 1e-4
    found = run_onnx(tmp_path / "m.onnx", pictures)
    assert found.keys() == {"score", "anomaly", "map"}
    np.testing.assert_allclose(found["map"], expected, rtol=1e-3, atol=1e-4)
    scores = detector.decision_function(pictures)
    np.testing.assert_allclose(found["score"], scores, rtol=1e-4, atol=1e-6)


def test_layers_behind_which_nothing_is_computed(tiles, tmp_path):
    detector = DN2(layers=["layer1", "layer2"], **CNN).fit(tiles)
    assert to_onnx(detector, tmp_path / "l.onnx", pictures=tiles[:5]) < 1e-4
    model = onnx.load(tmp_path / "l.onnx")
    assert sum(node.op_type == "Conv" for node in model.graph.node) == 2


def test_an_earlier_file_stays_where_the_graph_is_not_the_detector(tiles, tmp_path, monkeypatch):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"earlier")
    detector = DN2(image_size=16, **CNN).fit(tiles)
    # A network that changes when it is asked again is not what was exported.
    calls = []

    def drift(module, inputs, output):
        calls.append(1)
        return output * (1 + 1e-2 * (len(calls) > 1) * torch.arange(output.shape[1]))

    detector.pipeline_[0].network_.register_forward_hook(drift)
    with pytest.raises(ExportError, match=r"the ONNX graph gives other scores .* Nothing was wri"):
        to_onnx(detector, path, pictures=tiles[:6])
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_no_folder_and_no_extra(tiles, tmp_path, monkeypatch):
    detector = DN2(image_size=16, **CNN).fit(tiles)
    with pytest.raises(FileNotFoundError, match="is no folder, so .*a.pt2 can"):
        to_torch(detector, tmp_path / "no" / "a.pt2")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "skad\[export\]"'):
        to_onnx(detector, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_pictures_of_more_bits_are_no_bytes(tiles, tmp_path):
    detector = DN2(image_size=16, **CNN).fit(tiles)
    with pytest.raises(ExportError, match="picture 0 is of float32; a graph takes bytes"):
        to_torch(detector, tmp_path / "a.pt2", pictures=tiles[:2].astype(np.uint16) * 257)


def test_verb(calibrated, tiles, tmp_path, capsys):
    place, detector = calibrated
    model, graph = str(place / "a.skad"), str(tmp_path / "ä.pt2")
    Image.fromarray(tiles[5]).save(tmp_path / "5.png")
    assert main(["export", model, "-o", graph, "--pictures", str(tmp_path)]) == 0
    assert "ä.pt2: " in (told := capsys.readouterr().err)
    assert "the scores of 1 pictures differ from the model's by " in told
    score, anomaly, p_value = torch.export.load(graph).module()(torch.from_numpy(tiles[3:9, :40]))
    scores, p_values = detector.decide(tiles[3:9, :40])
    np.testing.assert_allclose(score, scores, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(anomaly, scores < 0)
    np.testing.assert_allclose(p_value, p_values)
    assert main(["export", model, "-o", str(tmp_path / "a.tflite")]) == 2
    assert "there are .onnx, .pt2; got .tflite" in capsys.readouterr().err
    assert main(["export", model, "-o", graph, "--pictures", str(tmp_path / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err

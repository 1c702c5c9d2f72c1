"""Benchmarks of inspection: what the command line says, what is written, what becomes of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from benchmarks import gpu, inspection_data, lite0, localization
from benchmarks.report.inspection import beside_anomalib, tables
from benchmarks.report.tiles import tiles

LOADER = """
import numpy as np
rng = np.random.default_rng(0)
IMAGES = rng.integers(90, 110, (24, 32, 32)).astype(np.uint8)
LABELS = np.repeat([0, 1, 2], [16, 4, 4])
MASKS = np.zeros(IMAGES.shape, dtype=bool)
MASKS[16:, 8:16, 8:16] = True
IMAGES[MASKS] = 255
SPLIT = np.where(np.arange(24) < 8, "train", "test")
CLASSES = np.array(["Free", "Crack", "Hole"])

def labels_of(name):
    return LABELS, SPLIT, CLASSES

def load(name, indices):
    return IMAGES[indices], LABELS[indices], SPLIT[indices], CLASSES

def load_masks(name, indices):
    return list(MASKS[indices])

def solar_cells():
    return IMAGES[:8], IMAGES[8:], np.where(LABELS[8:] == 0, 1, -1)
"""


@pytest.fixture
def shared(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "load.py").write_text(LOADER)
    return tmp_path


def run(shared, *options):
    out = shared / "lines.jsonl"
    options = ["--shared", str(shared), "--out", str(out), "--image-size", "32", *options]
    localization.main(options)
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_a_run_is_measured_once_and_told_in_tables(shared):
    options = ["--detector", "PatchCore", "--data", "pcb", "--set", "coreset_share=0.05"]
    options += ["n_threshold_images=4", "--n-train", "6"]
    run(shared, *options)
    (line,) = run(shared, *options)
    assert line["settings"] == {"coreset_share": 0.05, "n_threshold_images": 4}
    assert (line["n_train"], line["n_tested"]) == (6, 16)
    assert line["found"]["pixel AUROC"] > 90
    assert line["found"]["image AUROC"] == 100
    assert set(line["by_defect"]) == {"Crack", "Hole"}
    run(shared, "--detector", "DN2", "--data", "cells")
    lines = run(shared, "--detector", "DN2", "--data", "cells", "--n-test", "8", "--seed", "1")
    assert [list(one["found"]) for one in lines[1:]] == [["image AUROC"]] * 2
    assert [one["n_tested"] for one in lines] == [16, 16, 8]
    text = "\n".join(tables(lines))
    assert "``PatchCore(coreset_share=0.05, n_threshold_images=4)``" in text
    assert text.index("Circuit boards") < text.index("Solar cells")
    assert "Magnetic tiles" not in text
    old = {"network": "tiny", "image_size": 64, "n_train": 9, "n_tested": 9, "found": {"PRO": 88}}
    old |= {"n_centroids": None, "n_neighbors": 50, "metric": "euclidean", "fusion": "joined"}
    old |= {"n_neighbor_pixels": 1, "adapter": None, "seed": 0, "normal_flagged": {"pixels": 1}}
    old |= {"by_defect": {}}
    assert tiles([*lines, old]) == tiles([old])


@pytest.mark.parametrize(
    ("text", "value"),
    [("tiles=(256,32)", (256, 32)), ("metric=cosine", "cosine"), ("a=None", None)],
)
def test_settings_are_literals_or_strings(text, value):
    arguments = localization.parse(["--set", text])
    assert list(arguments.settings.values()) == [value]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "tiles"], "name=value"),
        (["--network", "lite0"], "needs --weights"),
        (["--pictures", "here", "--data", "cells"], "masks"),
    ],
)
def test_the_command_line_says_what_is_missing(options, said, capsys):
    with pytest.raises(SystemExit):
        localization.parse(options)
    assert said in capsys.readouterr().err


def test_tiles_to_learn_from_are_not_tested(shared):
    first, second = (
        inspection_data.read(shared / "data", "tiles", n_train=5, seed=seed) for seed in (0, 1)
    )
    assert len(first.train) == 5
    assert len(first.test) == 19
    assert not (first.train[:, None] == first.test).all((2, 3)).any()
    assert not np.array_equal(first.train, second.train)


@pytest.fixture(scope="module")
def network():
    return timm.create_model("tf_efficientnet_lite0").eval()


def test_weights_of_lite_find_their_places(network):
    expected = network.state_dict()
    blocks = [block for stage in network.blocks for block in stage]
    other = {f"_conv_stem.{n}": v for n, v in network.conv_stem.state_dict().items()}
    for old, module in (("_bn0", network.bn1), ("_conv_head", network.conv_head)):
        other |= {f"{old}.{n}": v for n, v in module.state_dict().items()}
    for old, module in (("_bn1", network.bn2), ("_fc", network.classifier)):
        other |= {f"{old}.{n}": v for n, v in module.state_dict().items()}
    for i, block in enumerate(blocks):
        parts = {"_depthwise_conv": block.conv_dw}
        if i == 0:
            parts |= {"_bn1": block.bn1, "_project_conv": block.conv_pw, "_bn2": block.bn2}
        else:
            parts |= {"_expand_conv": block.conv_pw, "_bn0": block.bn1, "_bn1": block.bn2}
            parts |= {"_project_conv": block.conv_pwl, "_bn2": block.bn3}
        for old, module in parts.items():
            values = module.state_dict().items()
            other |= {f"_blocks.{i}.{old}.{n}": v for n, v in values}
    found = lite0.renamed(other, network)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_memory_is_what_a_task_grows_by():
    # A process of its own: here, memory that earlier tests freed may be taken instead of new one.
    code = (
        "import numpy as np; from benchmarks.timing import measured; "
        "print(*measured(lambda: np.ones(2**25, dtype=np.uint8)))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True)
    taken, grown = map(float, done.stdout.split())
    assert taken > 0
    assert 30 < grown < 60


def test_both_sides_of_a_comparison_are_told():
    side = {"fit_seconds": 2, "fit_memory": 30, "images_a_second": 4, "maps_a_second": 5}
    run = {"network": "lite0", "image_size": 128, "share": 0.01, "threads": 1}
    line = run | {"n_train": 300, "n_tested": 300, "skad": side | {"image_auroc": 94.0}}
    line |= {"anomalib": side | {"image_auroc": 93.5}}
    line |= {"ratio": dict.fromkeys(side, 1.0) | {"image_auroc": 0.5}}
    text = "\n".join(beside_anomalib([line]))
    assert "1% of patches, 300 / 300 cells, 1 thread" in text
    assert "+0.50" in text


def run_on_cpu(capsys, tmp_path, *options):
    status = gpu.main([*options, "--small", "--out", str(tmp_path / "lines.jsonl")])
    lines = (tmp_path / "lines.jsonl").read_text().splitlines()
    return status, capsys.readouterr().out, [json.loads(line) for line in lines]


def test_sections_of_a_card_run_on_a_cpu(capsys, tmp_path):
    options = ["one_picture", "deepsvdd", "memory", "--device", "cpu"]
    status, text, lines = run_on_cpu(capsys, tmp_path, *options)
    assert status == 0
    assert [line["section"] for line in lines] == ["one_picture", "deepsvdd", "memory"]
    (ratio,) = (v for label, v in lines[1]["figures"].items() if "ours / plain loop" in label)
    assert 0 < ratio < 50
    assert "no card" in lines[0]["machine"]
    assert "there is none" in lines[2]["skipped"]
    for line in lines[:2]:
        assert all(label in text for label in line["figures"])


def test_a_section_that_fails_is_told_of_and_others_go_on(capsys, tmp_path):
    status, text, lines = run_on_cpu(
        capsys, tmp_path, "one_picture", "faiss", "--device", "nowhere"
    )
    assert status == 1
    assert "nowhere" in lines[0]["error"]
    assert "Traceback" in lines[0]["traceback"]
    assert "skipped" in lines[1]
    assert "error" in text


def test_a_section_beyond_the_budget_is_left_out():
    arguments = gpu.parse(["panda", "--budget", "1"])
    assert "2.0 minutes, and 0.7 are left" in gpu.run_section("panda", arguments, 0.7)["skipped"]
    assert sum(gpu.MINUTES.values()) <= 8
    assert gpu.MINUTES.keys() == gpu.SECTIONS.keys()

"""A report tells what the detector says, in HTML that is safe and whole."""

import os
import re
import shutil
import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import skad
from skad.report import write_report
from skad.report._thumbnails import MOST, NEIGHBOR_MOST, NEIGHBOR_SIDE, SIDE

from .common import Page, picture_of

DATE = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def report(detector, pictures, tmp_path, **options):
    path = tmp_path / "report.html"
    counts = write_report(detector, pictures, path, date=DATE, **options)
    return Page(path), counts


def test_every_picture_has_its_row_worst_first(dn2, place, tmp_path):
    page, counts = report(dn2, place.new, tmp_path)
    rows = page.verdicts
    assert sorted(row[1] for row in rows) == place.new
    readable = [path for path in place.new if "broken" not in path]
    scores = dict(zip(readable, dn2.decision_function(readable)))
    expected = sorted(readable, key=scores.get)
    assert [row[1] for row in rows if row[0] != "-"] == expected
    assert [int(row[0]) for row in rows if row[0] != "-"] == list(range(1, len(expected) + 1))
    found = [float(row[2]) for row in rows if row[2]]
    np.testing.assert_allclose(found, [scores[path] for path in expected], rtol=1e-4, atol=1e-5)
    decisions = [row[4] for row in rows]
    assert all((row[4] == "anomaly") == (scores[row[1]] < 0) for row in rows if row[2])
    assert {name: decisions.count(name) for name in counts} == counts
    assert counts["anomaly"] > 2
    assert decisions == sorted(decisions, key=["anomaly", "unreadable", "normal"].index)


def test_what_cannot_be_read_has_its_reason(dn2, place, tmp_path):
    page, counts = report(dn2, place.new, tmp_path)
    (row,) = (row for row in page.verdicts if row[4] == "unreadable")
    assert row[:4] == ["-", place.new[-1], "", ""]
    assert "of no image format that Pillow knows" in row[5]
    assert counts["unreadable"] == 1
    assert dn2.on_error == "raise", "the detector stays as it was"


def test_nothing_can_be_read(spade, place, tmp_path):
    page, counts = report(spade, [place.new[-1], str(tmp_path / "none.png")], tmp_path)
    assert counts == {"anomaly": 0, "normal": 0, "unreadable": 2}
    assert "No picture could be read." in page.said
    assert "does not exist" in page.verdicts[1][5]


def test_the_page_is_whole_and_asks_nobody(spade, place, tmp_path):
    page, _ = report(spade, place.new, tmp_path, normal=place.normal)
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(ids) == len(set(ids))
    links = [found["href"] for found in page.attributes("a")]
    assert len(links) > 10
    assert all(link[0] == "#" and link[1:] in ids for link in links)
    named = [found["aria-labelledby"] for _, found in page.tags if "aria-labelledby" in found]
    assert set(" ".join(named).split()) <= set(ids)
    for tag, found in page.tags:
        assert tag not in ("link", "iframe", "object", "base", "form")
        assert "style" not in found, "which the policy forbids"
        assert not any(name.startswith("on") for name in found)
        assert found.get("src", "data:").startswith("data:")
    assert page.attributes("script") == [{}]
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert all(image["alt"] for image in page.attributes("img"))
    assert page.attributes("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels)), "no level is left out"


def test_the_policy_allows_the_script_and_the_style_that_are_there(dn2, place, tmp_path):
    import base64
    import hashlib

    page, _ = report(dn2, place.new[:2], tmp_path)
    (policy,) = (m["content"] for m in page.attributes("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (inner,) = re.findall(f"<{tag}>(.*?)</{tag}>", page.text, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in policy


HOSTILE = {
    "<script>alert(1)</script>.png": None,
    "a\"onerror='x'&amp;.png": None,
    "gpj.\u202egnp.png": "gpj.\\u202egnp.png",
    "שלום\nline.png": "שלום\\nline.png",
    "byte\udcff.png": "byte\\xff.png",
}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows forbids such names")
def test_names_are_text_and_nothing_else(dn2, place, tmp_path):
    folder = tmp_path / "names"
    paths = []
    for name in HOSTILE:
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            shutil.copy(place.new[0], path)
        except (OSError, UnicodeError):
            pytest.skip(f"this file system takes no {name!r}")
        paths.append(path)
    hostile = "<b>&\"'"
    page, _ = report(dn2, paths, tmp_path, title=hostile, normal=[*paths, *place.normal])
    shown = {row[1].removeprefix(f"{folder}/") for row in page.verdicts}
    assert shown == {text or name for name, text in HOSTILE.items()}
    assert page.attributes("script") == [{}]
    assert page.attributes("b").count({}) == 3, "those of the counts"
    assert "&lt;b&gt;&amp;&quot;" in page.text
    assert not any(found.get("onerror") for _, found in page.tags)


def test_thumbnails_are_small(spade, place, tmp_path, tiles):
    rng = np.random.default_rng(0)
    noise = str(tmp_path / "noise.png")  # which hardly compresses
    Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(noise)
    page, _ = report(spade, [noise, *place.new], tmp_path, normal=[*place.normal, noise])
    images = page.attributes("img")
    assert len(images) >= 2 * 12
    for image in images:
        pixels, size = picture_of(image)
        near = image["alt"].startswith("Normal picture")
        assert size <= (NEIGHBOR_MOST if near else MOST)
        assert max(pixels.shape[:2]) <= (NEIGHBOR_SIDE if near else SIDE)
    small = next(image for image in images if image["alt"] == f"Picture {place.new[0]}")
    pixels, _ = picture_of(small)
    k = len(pixels) // 48
    assert k == 3, "small pictures are enlarged by a whole number"
    apart = pixels[k // 2 :: k, k // 2 :: k].astype(float) - tiles[0]
    assert np.abs(apart).mean() < 6


def test_only_the_worst_are_shown(dn2, place, tmp_path):
    for most in (0, 3):
        page, _ = report(dn2, place.new, tmp_path, most=most)
        cards = [found["id"] for found in page.attributes("article")]
        assert cards == [f"picture-{rank}" for rank in range(1, most + 1)]
        assert len(page.attributes("img")) == most
        assert len(page.verdicts) == len(place.new)
        assert f"The worst {most} of " in page.said


def test_a_picture_that_is_gone_the_second_time(dn2, place, tmp_path, monkeypatch):
    path = str(tmp_path / "a.png")
    shutil.copy(place.new[0], path)
    decide = type(dn2).decision_function

    def then_gone(detector, paths):
        scores = decide(detector, paths)
        os.unlink(path)
        return scores

    monkeypatch.setattr(type(dn2), "decision_function", then_gone)
    page, counts = report(dn2, [path], tmp_path)
    assert counts["unreadable"] == 0
    assert "It could not be read a second time." in page.said


def test_the_same_gives_the_same_file(spade, place, tmp_path, monkeypatch):
    first, _ = report(spade, place.new, tmp_path, normal=place.normal)
    assert report(spade, place.new, tmp_path, normal=place.normal)[0].text == first.text
    path = tmp_path / "b.html"
    elsewhere = DATE.astimezone(timezone(timedelta(hours=5)))
    for date, epoch in ((elsewhere, None), (DATE.replace(tzinfo=None), None), (None, "1767323040")):
        if epoch is not None:
            monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        write_report(spade, place.new, path, normal=place.normal, date=date)
        assert path.read_text(encoding="utf-8") == first.text
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    write_report(spade, place.new[:1], path)
    assert f"{datetime.now(UTC):%Y-%m-%d}" in path.read_text(encoding="utf-8")


def test_thousands_of_pictures(place, dn2, tmp_path):
    paths = []
    for i in range(2500):
        path = str(tmp_path / f"{i}.png")
        os.link(place.new[i % (len(place.new) - 1)], path)
        paths.append(path)
    page, counts = report(dn2, paths, tmp_path)
    assert sum(counts.values()) == len(page.verdicts) == 2500
    assert len(page.attributes("article")) == 100
    assert len(page.text) < 4e6


BAD = {
    "no decisions": (lambda d, p: (d.pipeline_[0], p.new, "r"), {}, TypeError, "decides nothing"),
    "not fitted": (lambda d, p: (skad.DN2(), p.new, "r"), {}, ValueError, "not fitted"),
    "one path": (lambda d, p: (d, p.new[0], "r"), {}, TypeError, "must be a list of paths"),
    "no pictures": (lambda d, p: (d, [], "r"), {}, ValueError, "there are no pictures"),
    "too many": (lambda d, p: (d, p.new, "r"), {"most": 1001}, ValueError, r"in 0\.\.1000"),
    "no folder": (lambda d, p: (d, p.new, "no/r"), {}, FileNotFoundError, "no is no folder"),
    "a folder": (lambda d, p: (d, p.new, "."), {}, IsADirectoryError, "is a folder; name a file"),
    "no normal": (lambda d, p: (d, p.new, "r"), {"normal": ["x"]}, ValueError, "0 can be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_errors(case, dn2, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, options, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        write_report(*make(dn2, place), **options)
    assert list(Path().iterdir()) == []


def test_a_full_disk_leaves_the_earlier_report(dn2, place, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("earlier")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("skad._whole.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        write_report(dn2, place.new[:2], path)
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "earlier"

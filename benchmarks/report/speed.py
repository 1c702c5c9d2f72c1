"""Tables of ``benchmarks/speed.jsonl``: what takes how long, and how much memory."""

import re

from .rst import folded, page, table, title
from .sharded import sharded

INTRODUCTION = """\
From ``benchmarks/speed.py``, ``pictures.py``, ``hand_over.py`` and ``adaptation_speed.py``: the
last figure of each kind, ratios within one run ({machine}). Where there was an aim, it stands
beside; 1 is what a figure has that does not grow.
"""

# What a table is of, by how its labels begin or end; the first that fits.
TOPICS = {
    "Features": r"extraction|images per second|one image|20 000 files|peak memory, 20 000|first",
    "Scorers": r"kNN|ivf|hnsw|exact:|Gaussian|peak memory of (KNN|Gauss|KDE|Ensemble)",
    "Training": r"PANDA|MSC|from scratch",
    "Maps": r"maps a second|forward pass / maps|time of a map|peak memory of SPADE|PatchCore",
    "Pictures in files": r"\d+ (JPEG|PNG|TIFF)s|JPEGs|draft",
    "Model files and ONNX": r"DN2 of \d+ pictures|ONNX|.*ONNX / torch",
    "Workers, and many pictures": r"dask|ray|DN2, (seconds|milliseconds)",
    "Others": "",
}
AIM = re.compile(r" ?(; |\()(?:aim )?([<>]=? [^)]*|1)\)")


def speed(lines, shards):
    """The page: one folded table a topic, and galleries in shards."""
    latest = {label: value for line in lines for label, value in line["figures"].items()}
    tables = {topic: [] for topic in TOPICS}
    for label, value in latest.items():
        topic = next(topic for topic, start in TOPICS.items() if re.match(start, label))
        tables[topic].append([*split(label), value])
    parts = [INTRODUCTION.format(machine=lines[-1]["machine"]), *sharded(shards)]
    parts.append(title("Figures by topic"))
    for topic, rows in tables.items():
        if rows:
            parts.append(folded(topic, table(["what", "aim", "figure"], rows)))
    return page("Speed and memory", *parts, notes=["speed"])


def split(label):
    """A label, and the aim that stands in it."""
    found = AIM.search(label)
    if not found:
        return label, ""
    end = ")" if found[1] == "; " else ""
    return label[: found.start()] + end + label[found.end() :], found[2]

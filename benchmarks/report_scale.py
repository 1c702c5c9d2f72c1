"""Write ``doc/to_a_billion.rst``: the text of ``to_a_billion.rst`` beside this, and its tables.

    python -m benchmarks.report_scale

Tables are made of the lines that ``benchmarks/scale.py`` left, and of what the model of workers
says for more of them.
"""

import json
import re
from pathlib import Path

from .cluster_model import Cluster, Work, limits, simulate

HERE = Path(__file__).parent
TARGET = HERE.parent / "doc" / "to_a_billion.rst"

# What is not measured here: a disk or a network file system, a link of ten gigabits, and what Dask
# says of a task.
STORE, BANDWIDTH, DISPATCH = 5e8, 1.25e9, 1e-3
BLOCK, BLOCKS = 1024, 2000
WORKERS = (1, 8, 64)

ROWS, WIDTHS, INDEXES = (10**6, 10**7, 10**8), (288, 2048), ("exact", "ivf", "hnsw")
MEASURED_WIDTH = 288


def table(header, rows):
    """A list-table."""
    text = [".. list-table::", "   :header-rows: 1", ""]
    for row in [header, *rows]:
        text += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
    return "\n".join(text)


def figure(value):
    """A number of three digits, in groups."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}".replace(",", " ")
    return f"{value:.3g}"


def starting(figures, start):
    """Figures whose label starts so, without that."""
    return {k.removeprefix(start): v for k, v in figures.items() if k.startswith(start)}


def stages(figures):
    """Milliseconds of each stage."""
    names = starting(figures, "milliseconds: ")
    names = {k: v for k, v in names.items() if not k.startswith(("fit", "score", "search"))}
    return table(["stage", "milliseconds a picture"], [[k, figure(v)] for k, v in names.items()])


def growth(figures):
    """Milliseconds of a picture among few and many."""
    rows = []
    for verb in ("fit", "score"):
        found = starting(figures, f"milliseconds: {verb}, ")
        rows += [[verb, *what.rsplit(", ", 1), figure(value)] for what, value in found.items()]
    return table(["what", "detector", "among", "milliseconds a picture"], rows)


def transfer(figures):
    """What a block takes to be packed and sent."""
    rows = []
    for name, size in starting(figures, "bytes: pickle of ").items():
        packed = figures[f"microseconds: pickle and back, {name}"]
        rates = [figures[f"megabytes a second: {kind}, {name}"] for kind in ("pipe", "socket")]
        rows.append([name, *map(figure, (size, packed, *rates))])
    header = ["block", "bytes", "pickled and back, microseconds", "pipe, MB/s", "socket, MB/s"]
    return table(header, rows)


def workers(figures):
    """Pictures a second of some processes, measured and by the model."""
    rows = []
    for name, ratio in starting(figures, "model / measured: ").items():
        pair = [
            figures[f"pictures a second: {name}, {how}"] for how in ("measured", "by the model")
        ]
        rows.append([name, *map(figure, pair), f"{ratio:.2f}"])
    return table(["processes", "measured, pictures a second", "by the model", "ratio"], rows)


def works(figures):
    """What is to be done for a picture, by what it is called: seconds of a core, and bytes."""
    whole = figures["milliseconds: a picture, paths to scores"]
    large = sum(
        figures[f"milliseconds: {stage}"]
        for stage in (
            "decode, 1024 px",
            "reduce, 1024 px, for tiny, 64 px",
            "preprocess, tiny, 64 px",
            "network, tiny, 64 px",
        )
    )
    small_bytes, large_bytes = (figures[f"bytes of a picture, {side} px"] for side in (128, 1024))
    fast = whole / 20
    return {
        f"128 px, {figure(small_bytes / 1e3)} kB": (whole / 1e3, small_bytes),
        f"1024 px, {figure(large_bytes / 1e3)} kB": (large / 1e3, large_bytes),
        "1024 px, workers twenty times as fast": (large / 2e4, large_bytes),
        "128 px, workers twenty times as fast": (fast / 1e3, small_bytes),
    }


def far(figures):
    """What the model says of more workers."""
    share = BLOCK / figures["pictures in a block"]
    sent, back = (share * figures[f"bytes: a block's {what}"] for what in ("paths", "scores"))
    rows = []
    for name, (seconds, size) in works(figures).items():
        for n_workers in WORKERS:
            cluster = Cluster(n_workers, dispatch=DISPATCH, store=STORE, bandwidth=BANDWIDTH)
            work = Work(BLOCKS, BLOCK, seconds, size, sent, back)
            found = simulate(cluster, work)
            allowed = limits(cluster, work)
            limit = min(allowed, key=allowed.get)
            days = 1e9 / found.rate / 86400
            rows.append([name, n_workers, figure(found.rate), limit, figure(days)])
    header = ["pictures", "workers", "pictures a second", "limit", "days for a billion"]
    return table(header, rows)


def index_bytes(figures, index, width):
    """Bytes of a row in an index: the row itself as float32, and links or lists."""
    labels = starting(figures, f"bytes of a row: index, {index}, ")
    largest = max(labels, key=lambda label: int(label.split(" x ")[0]))
    return labels[largest] + 4 * (width - MEASURED_WIDTH)


def gallery(figures):
    """GB of galleries, with their index."""
    rows = []
    for n_rows in ROWS:
        for width in WIDTHS:
            sizes = [
                n_rows * (4 * width + index_bytes(figures, index, width)) / 1e9 for index in INDEXES
            ]
            rows.append([figure(n_rows), width, *map(figure, sizes)])
    return table(["rows", "features", *(f"{index}, GB" for index in INDEXES)], rows)


def search(figures):
    """Milliseconds of a search."""
    found = {}
    for label, value in starting(figures, "milliseconds: search, ").items():
        index, size = label.split(", ")
        found.setdefault(size, {})[index] = value
    rows = [[size, *(figure(some[index]) for index in INDEXES)] for size, some in found.items()]
    return table(["gallery", *(f"{index}, milliseconds" for index in INDEXES)], rows)


TABLES = {
    "stages": stages,
    "growth": growth,
    "transfer": transfer,
    "workers": workers,
    "far": far,
    "gallery": gallery,
    "search": search,
}


def page(lines, text):
    """The page: its text with the tables, of the last figures of each kind."""
    figures = {label: value for line in lines for label, value in line["figures"].items()}
    text = re.sub(
        r"^\.\. figures: (\w+)$", lambda found: TABLES[found[1]](figures), text, flags=re.M
    )
    known = {"store": figure(STORE / 1e6), "dispatch": figure(DISPATCH * 1e3), "block": BLOCK}
    known |= {"scheduler": figure(BLOCK / DISPATCH)}
    known |= {"load": figure(figures["load of the machine, with this process"])}
    known |= {name: lines[-1][name] for name in ("machine", "date")}
    note = ".. Written by ``python -m benchmarks.report_scale``; don't edit.\n\n"
    return note + text.format(**known)


def main():
    """Write the page."""
    lines = [json.loads(line) for line in (HERE / "scale.jsonl").read_text().splitlines()]
    TARGET.write_text(page(lines, (HERE / "to_a_billion.rst").read_text()))


if __name__ == "__main__":
    main()

"""Table of ``benchmarks/sharded.jsonl``: galleries in shards."""

from .rst import table, title

INTRODUCTION = """\
Rows of 256 values in blobs, five neighbours of 2 000 queries; times are shares of those of one
index in the same run. "the same": share of the queries whose neighbours, and scores, are the bits
of one index. Recall is of the neighbours that "exact" finds. MiB: by how much a process grew in
building and in searching, beyond the rows that it maps from a file; a worker's peak holds these
as well.
"""


def sharded(lines):
    """A row for each index and way to search it."""
    latest = {(line["index"], line["n"], line["way"]): line for line in lines}
    rows = []
    for (kind, n, way), line in sorted(latest.items(), key=lambda item: item[0][:2]):
        one = latest[kind, n, "one index"]
        shares = [line[f"{what} s"] / one[f"{what} s"] for what in ("build", "search")]
        peak = line["a worker's peak MiB"]
        rows.append(
            [
                *(kind, f"{n:.0e}".replace("e+0", "e"), way),
                *(f"{share:.2f}" for share in shares),
                *(f"{line[f'{what} MiB']:.0f}" for what in ("build", "search")),
                "" if peak is None else f"{peak:.0f}",
                *(f"{line[f'same {what}']:.3f}" for what in ("indices", "scores")),
                f"{line['recall']:.3f}",
            ]
        )
    header = ["index", "rows", "way", "build", "search", "build, MiB", "search, MiB"]
    header += ["a worker's peak, MiB", "the same neighbours", "the same scores", "recall"]
    return [title("Galleries in shards"), INTRODUCTION, table(header, rows)]

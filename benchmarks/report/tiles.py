"""Tables of ``benchmarks/localization.jsonl``: where the defect is, by ``SPADE`` on tiles."""

from .rst import folded, page, table

INTRODUCTION = """\
``SPADE`` on magnetic tiles. Tiles without a defect, drawn at random, to learn from; the others,
and all with a defect, to test on. In percent. "Pixel AP" is the average precision of pixels,
"lowest pixel" the AUROC of images by the lowest value of their maps. PRO up to a false-positive
rate of 30 %. Defect by defect: AUROC of the images and of the pixels with that defect against
tiles without one; overlap, whose mean over all regions is PRO. "Flagged": shares of pixels, and
of images with any such pixel, that ``predict_masks`` marks in normal test tiles at its default,
one pixel in a hundred.
"""


def tiles(lines):
    """One table of means, one of defects; of the lines that say nothing of a detector."""
    lines = [line for line in lines if "detector" not in line]
    lines = sorted(lines, key=lambda line: (line["network"], line["image_size"]))
    parts = [INTRODUCTION]
    names = list(lines[0]["found"])
    short = [name.replace("image AUROC by the ", "") for name in names]
    header = ["SPADE", "train / test", *short, "flagged pixels / images"]
    rows = [
        [_name(line), f"{line['n_train']} / {line['n_tested']}"]
        + [f"{line['found'][name]:.1f}" for name in names]
        + [" / ".join(f"{share:.1f}" for share in line["normal_flagged"].values())]
        for line in lines
    ]
    parts.append(table(header, rows))
    defects = list(lines[0]["by_defect"])
    columns = ("image AUROC", "pixel AUROC", "overlap")
    header = [f"{d} ({lines[0]['by_defect'][d]['images']})" for d in defects]
    rows = [
        [_name(line)]
        + [" / ".join(f"{line['by_defect'][d][c]:.1f}" for c in columns) for d in defects]
        for line in lines
    ]
    summary = "Image AUROC / pixel AUROC / overlap of each defect (number of tiles)"
    parts.append(folded(summary, table(["SPADE", *header], rows)))
    return page("Where it is: magnetic tiles", *parts, notes=["tiles"])


def _name(line):
    """What sets a run apart."""
    parts = [f"{line['network']}, {line['image_size']} px"]
    if line["n_centroids"]:
        of = "all tiles" if line["centroids_of"] == "all" else "each tile"
        parts.append(f"{line['n_centroids']} centroids of {of}")
    if line.get("coreset_share"):
        parts.append(f"a coreset of each tile, {100 * line['coreset_share']:g} %")
    if line["n_neighbors"] != 50:
        parts.append(f"{line['n_neighbors']} retrieved")
    if line["metric"] != "euclidean":
        parts.append(line["metric"])
    if line["fusion"] != "joined":
        parts.append("layer by layer")
    if line["n_neighbor_pixels"] != 1:
        parts.append(f"{line['n_neighbor_pixels']} nearest pixels")
    if line["adapter"]:
        rate = f", rate {line['learning_rate']:g}" if line["learning_rate"] else ""
        parts.append(f"adapted by {line['adapter']}{rate}")
    if line["seed"]:
        parts.append(f"seed {line['seed']}")
    return ", ".join(parts)

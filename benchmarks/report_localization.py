"""Tables of ``benchmarks/localization.jsonl``, for ``benchmarks/report.py``."""

TITLE = "Where it is: magnetic tiles"

INTRODUCTION = """\
Tiles without a defect, drawn at random, to learn from; the others, and all with a defect, to test
on. In percent. "Pixel AP" is the average precision of pixels, "lowest pixel" the AUROC of images by
the lowest value of their maps. PRO up to a false-positive rate of 30 %. Defect by defect: AUROC of
the images and of the pixels with that defect against tiles without one; overlap, whose mean over
all regions is PRO. "Flagged": shares of pixels, and of images with any such pixel, that
``predict_masks`` marks in normal test tiles at its default, one pixel in a hundred.
"""


def localization(lines, table):
    """One table of means, one of defects; of the lines that say nothing of a detector."""
    lines = [line for line in lines if "detector" not in line]
    if not lines:
        return ""
    lines = sorted(lines, key=lambda line: (line["network"], line["image_size"]))
    text = [TITLE, "-" * len(TITLE), "", INTRODUCTION]
    names = list(lines[0]["found"])
    short = [name.replace("image AUROC by the ", "") for name in names]
    header = ["SPADE", "train / test", *short, "flagged pixels / images"]
    rows = [
        [_name(line), f"{line['n_train']} / {line['n_tested']}"]
        + [f"{line['found'][name]:.1f}" for name in names]
        + [" / ".join(f"{share:.1f}" for share in line["normal_flagged"].values())]
        for line in lines
    ]
    text += [table(header, rows)]
    defects = list(lines[0]["by_defect"])
    columns = ("image AUROC", "pixel AUROC", "overlap")
    header = [f"{d} ({lines[0]['by_defect'][d]['images']})" for d in defects]
    rows = [
        [_name(line)]
        + [" / ".join(f"{line['by_defect'][d][c]:.1f}" for c in columns) for d in defects]
        for line in lines
    ]
    text += ["Image AUROC / pixel AUROC / overlap of each defect (number of tiles):", ""]
    return "\n".join([*text, table(["SPADE", *header], rows)])


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

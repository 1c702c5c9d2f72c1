"""Tables of ``benchmarks/conformal_masks.jsonl``, for ``benchmarks/report.py``."""

TITLE = "Conformal decisions on pixels"

INTRODUCTION = """\
Maps of ``PatchCore`` with tiny, fitted once; means and standard errors, in percent, of random
draws of normal images that calibrate, and of others that are tested. An image has an alarm by
pixels where its mask is not empty (``predict_masks``, ``predict``), by regions where
``predict_regions`` finds a defect, by either where any of the two does, which nothing but twice the
rate is promised for. "Hit": images where what was flagged touches the defect as it was drawn.
"False discoveries": of the images of a batch, half of them normal, that
``predict_regions(false_discovery_rate=0.1)`` finds a defect in, those that are normal.
"""

KINDS = {
    "false_alarms": "normal images with an alarm",
    "found": "defective images with an alarm",
    "defects_hit": "defective images, hit",
}


def conformal_masks(lines, table):
    """One table: asked rates against those measured."""
    if not lines:
        return ""
    latest = {(line["data"], line["estimator"]): line for line in lines}
    rows = []
    for (data, estimator), line in sorted(latest.items()):
        protocol, found = line["protocol"], line["found"]
        size = estimator.partition("image_size=")[2].strip(")")
        where = f"{data}, {size} px, {protocol['n_calibration']} calibrate"
        for kind, title in KINDS.items():
            if kind not in found:
                continue
            for rate in found[kind]["pixels"]:
                cells = [_percent(found[kind][way][rate]) for way in found[kind]]
                rows.append([where, title, f"{100 * float(rate):g}", *cells])
        batch = found["false_discovery"]
        asked = f"{100 * batch['asked']:g}"
        for name, title in (("normal_among_found", "false discoveries"), ("found", "discoveries")):
            rows.append([where, title, asked, "n/a", _percent(batch[name]), "n/a"])
    text = [TITLE, "-" * len(TITLE), "", INTRODUCTION]
    return "\n".join(
        [*text, table(["set", "share of", "asked", "pixels", "regions", "either"], rows)]
    )


def _percent(pair):
    return f"{pair[0]:.2f} +- {pair[1]:.2f}"

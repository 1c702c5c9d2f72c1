"""Tables of ``benchmarks/conformal.jsonl`` and ``conformal_masks.jsonl``: rates held."""

from .lines import network
from .rst import page, table, title

INTRODUCTION = """\
A conformal detector holds the share of false alarms that it is asked for. Here the rates that
were asked for stand beside those measured, with the anomalies found; means and standard errors,
in percent.
"""

PIXELS = """\
Maps of ``PatchCore`` with tiny, fitted once; means and standard errors, in percent, of random
draws of normal images that calibrate, and of others that are tested. An image has an alarm by
pixels where its mask is not empty (``predict_masks``, ``predict``), by regions where
``predict_regions`` finds a defect, by either where any of the two does, which nothing but twice
the rate is promised for. "Hit": images where what was flagged touches the defect as it was drawn.
"False discoveries": of the images of a batch, half of them normal, that
``predict_regions(false_discovery_rate=0.1)`` finds a defect in, those that are normal.
"""

KINDS = {
    "false_alarms": "normal images with an alarm",
    "found": "defective images with an alarm",
    "defects_hit": "defective images, hit",
}


def conformal(lines, masks):
    """The page: rates of images, then of pixels."""
    parts = [INTRODUCTION, *images(lines), *pixels(masks)]
    return page("Conformal decisions", *parts, notes=["conformal"])


def images(lines):
    """Rates that were asked for, beside those measured."""
    line = lines[-1]
    protocol = line["protocol"]
    text = (
        f"``{line['estimator']}`` on features of {network(line['network'])}, {line['data']}; "
        f"normal: {', '.join(line['classes'])}, in turn; seeds {line['seeds']}, each a random draw "
        f"of {protocol['n_fit']} images to fit, {protocol['n_normal']} normal ones and "
        f"{protocol['n_anomalies']} anomalies to test.\n"
    )
    rows = []
    for group, kind in GROUPS:
        for name, found in line["mean"][group].items():
            what = f"{name}, 10 % polluted" if group == "polluted" else name
            for asked, measured in found[kind].items():
                pairs = [[100 * value for value in p] for p in (measured, found["found"][asked])]
                row = [f"{kind.replace('_', ' ')}, {what}", f"{100 * float(asked):g}"]
                rows.append([*row, *map(_percent, pairs)])
    header = ["rate, method", "asked", "measured", "anomalies found"]
    picture = ".. image:: ../conformal.png\n   :alt: Asked rates against measured ones\n"
    return [title("Images"), picture, text, table(header, rows)]


GROUPS = (
    ("rates", "false_alarms"),
    ("false_discovery", "false_discoveries"),
    ("polluted", "false_alarms"),
)


def pixels(lines):
    """One table: asked rates against those measured."""
    latest = {(line["data"], line["estimator"]): line for line in lines}
    rows = []
    for (data, estimator), line in sorted(latest.items()):
        protocol, found = line["protocol"], line["found"]
        size = estimator.partition("image_size=")[2].strip(")")
        where = f"{data}, {size} px, {protocol['n_calibration']} calibrate"
        for kind, name in KINDS.items():
            if kind not in found:
                continue
            for rate in found[kind]["pixels"]:
                cells = [_percent(found[kind][way][rate]) for way in found[kind]]
                rows.append([where, name, f"{100 * float(rate):g}", *cells])
        batch = found["false_discovery"]
        asked = f"{100 * batch['asked']:g}"
        for key, name in (("normal_among_found", "false discoveries"), ("found", "discoveries")):
            rows.append([where, name, asked, "n/a", _percent(batch[key]), "n/a"])
    header = ["set", "share of", "asked", "pixels", "regions", "either"]
    return [title("Pixels and regions"), PIXELS, table(header, rows)]


def _percent(pair):
    return f"{pair[0]:.2f} ± {pair[1]:.2f}"

"""Pictures with their verdicts, and what is near them."""

from ._text import counted, name, number, share


def card(row, views, neighbors):
    """A picture of the report.

    Parameters
    ----------
    row : dict
        Of a verdict, with its `rank`.
    views : list of View
        What is to be seen of it; empty where it could not be read again.
    neighbors : list of (str, float, View)
        Paths and distances of normal pictures.

    Returns
    -------
    html : str
    """
    told = f"score {row['score']:.4g}"
    if number(row["p_value"]):
        told += f", p-value {row['p_value']:.3g}"
    parts = [
        f'<article class="card {row["decision"]}" id="picture-{row["rank"]}">',
        f"<h3>{row['rank']}. {name(row['path'])}</h3>",
        f'<p><strong class="verdict">{row["decision"]}</strong> {told}</p>',
        f'<div class="views{" single" if len(views) == 1 else ""}">',
        *map(_figure, views),
        "</div>",
    ]
    if not views:
        parts.append("<p>It could not be read a second time.</p>")
    if neighbors:
        parts.append('<h4>Nearest normal pictures</h4><div class="views near">')
        for path, distance, view in neighbors:
            caption = f"{name(path)}<br>distance {distance:.3g}"
            parts.append(_figure(view._replace(caption=caption)))
        parts.append("</div>")
    return "".join([*parts, "</article>"])


def _figure(view):
    height, width = view.shape
    return (
        f'<figure><img src="{view.address}" width="{width}" height="{height}" decoding="async" '
        f'alt="{view.text}"><figcaption>{view.caption}</figcaption></figure>'
    )


def caption_of(part):
    """What a heat map shows whose outlines hold this part of the picture."""
    if part == 0:
        return "heat map; no pixel beyond the threshold"
    return f"heat map; outlined {share(round(part, 4)) if part >= 1e-4 else 'below 0.01 %'}"


def headline(anomalies, shown):
    """How many of the anomalies have a picture here."""
    if not anomalies:
        return "No picture is below the threshold."
    if shown < anomalies:
        return f"The worst {shown} of {anomalies} anomalies, worst first; all are in the table."
    return f"{counted(anomalies, 'anomaly', 'anomalies')}, worst first."

"""A table with a row for every picture."""

from ._text import name, number, shown

_HEAD = ("rank", "picture", "score", "p-value", "decision", "reason")


def table(rows, n_cards):
    """All verdicts.

    Parameters
    ----------
    rows : list of dict
        In the order of the report; `rank` is None for what could not be read.
    n_cards : int
        Ranks up to it have a picture to go to.

    Yields
    ------
    html : str
    """
    head = "".join(f'<th scope="col">{text}</th>' for text in _HEAD)
    yield f'<table id="rows"><thead><tr>{head}</tr></thead><tbody>\n'
    for row in rows:
        rank = row["rank"]
        first = "-" if rank is None else rank
        if rank is not None and rank <= n_cards:
            first = f'<a href="#picture-{rank}">{rank}</a>'
        cells = (
            first,
            name(row["path"]),
            number(row.get("score")),
            number(row.get("p_value")),
            row["decision"],
            shown(row.get("reason", "")),
        )
        inner = "".join(f"<td>{cell}</td>" for cell in cells)
        yield f'<tr class="{row["decision"]}">{inner}</tr>\n'
    yield "</tbody></table>"

"""Leaderboard: what was tried, and how well each did."""

from collections.abc import Sequence
from html import escape

_COLUMNS = ("candidate", "auroc", "fold_std", "minutes", "weight", "note")


class Leaderboard(Sequence):
    """List of candidates and their results, the best first.

    It prints as a table, and ``pandas.DataFrame(leaderboard)`` turns it into a data frame.

    Parameters
    ----------
    rows : list of dict
        One for each candidate, with entries "candidate" (str), "auroc" (float in [0, 1]: mean over
        kinds of anomalies, NaN if there is none), "fold_std" (float: standard deviation over
        folds), "minutes" (float), "weight" (float: share in the final detector, 0 if it was not
        taken), "note" (str) and "by_kind" (dict of str to float: AUROC of each kind).

    Examples
    --------
    >>> from skad.model_selection import Leaderboard
    >>> row = {"candidate": "DN2()", "auroc": 0.91, "fold_std": 0.01, "minutes": 0.1}
    >>> print(Leaderboard([row | {"weight": 1.0, "note": "", "by_kind": {}}]))
    candidate  auroc  fold_std  minutes  weight  note
    DN2()      0.910     0.010     0.10    1.00
    """

    def __init__(self, rows: list) -> None:
        self.rows = sorted(rows, key=lambda row: -row["auroc"] if row["auroc"] >= 0 else 2)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]

    def __repr__(self):
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = []
        for line in cells:
            padded = [
                cell.ljust(width) if column in (0, 5) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths))
            ]
            lines.append("  ".join(padded).rstrip())
        return "\n".join(lines)

    def _repr_html_(self):
        head, *lines = self._cells()
        rows = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
        rows += ["".join(f"<td>{escape(cell)}</td>" for cell in line) for line in lines]
        return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"

    def _cells(self):
        """Texts of the table, its head first."""
        cells = [list(_COLUMNS)]
        for row in self.rows:
            numbers = [f"{row[name]:.3f}" for name in ("auroc", "fold_std")]
            numbers += [f"{row[name]:.2f}" for name in ("minutes", "weight")]
            cells.append([row["candidate"], *numbers, row["note"]])
        return cells

"""Write the pages and draw the plots."""

from .plots import draw, plots
from .site import DOC, pages, read_all, rows

if __name__ == "__main__":
    LINES = read_all()
    for path, text in pages(LINES).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    draw(plots(LINES, rows(LINES)), DOC / "results")

"""Reports, read as a browser would."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image

VOID = {"meta", "img", "br", "input", "link"}


class Page(HTMLParser):
    """A report: balanced tags, and what tests ask for."""

    def __init__(self, path):
        super().__init__()
        self.open, self.tags, self.rows, self._cell = [], [], [], None
        self.text = path.read_bytes().decode()
        self.feed(self.text)
        self.close()
        assert self.open == [], "all tags are closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr" and "tbody" in self.open:
            self.rows.append((dict(attributes).get("class"), []))
        if tag == "td":
            self.rows[-1][1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open:
            self.rows[-1][1][-1] += data

    def attributes(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def verdicts(self):
        """Cells of the rows of pictures: rank, path, score, p-value, decision, reason."""
        return [cells for kind, cells in self.rows if kind is not None]

    @property
    def said(self):
        """All text, in one line."""
        pieces = []
        parser = HTMLParser()
        parser.handle_data = pieces.append
        parser.feed(self.text)
        return " ".join(" ".join(pieces).split())


def picture_of(image):
    """Pixels, and size in bytes, of an img tag."""
    kind, _, encoded = image["src"].partition(",")
    assert kind == "data:image/jpeg;base64"
    content = base64.b64decode(encoded)
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.size == (int(image["width"]), int(image["height"]))
        return np.asarray(opened), len(content)

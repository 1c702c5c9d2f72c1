"""Encoded images to pixels: by Pillow, upright, no larger than is of use."""

import io
import sys
import threading
import warnings
from contextlib import contextmanager

import numpy as np

from ._pixels import PictureError, check_sides
from ._reduce import Origin, choose_box, decoding_room

_ORIENTATION, _BITS_PER_SAMPLE, _PLANES = 0x0112, 0x0102, 0x011C  # tags of EXIF and TIFF

# What turns an image upright, by the value of its tag, as names of PIL.Image.Transpose.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_UNTURNED = {6: 8, 8: 6}  # what undoes a turn, where not the turn itself


def is_pil(item):
    """True for a PIL image."""
    # An object can only be a PIL image if PIL was imported.
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(item, pil.Image)


def decode_file(file, reading, detail):
    """Decode an image file.

    Parameters
    ----------
    file : path or binary file
    reading : Reading
    detail : callable or None
        See :func:`skad.images._reduce.choose_box`.

    Returns
    -------
    pixels : ndarray, shape (channels, height, width)
        Bytes, unsigned integers of 16 bits, integers or floats as the file has them; reduced if
        they are bytes.
    origin : Origin or None
        What it was reduced from.
    """
    from PIL import Image

    with Image.open(file) as image:
        return decode_image(image, reading, detail, ours=True)


def decode_image(image, reading, detail, *, ours=False):
    """Pixels of a PIL image, as :func:`decode_file` gives them; `ours` may be decoded in draft."""
    check_sides(image.height, image.width, "it")
    with decoding_room.taken(4 * image.width * image.height):
        deep = None
        if _is_deep(image):
            # Its owner's stays as it is: once it is loaded, half of its bits are gone.
            image = image if ours else _opened_again(image)
            deep = _deep_pixels(image)
        turn = _turn_of(image, reading.orientation == "apply")
        columns, rows = image.size if turn < 5 else image.size[::-1]
        least = None if detail is None else tuple(detail(rows, columns))
        draft = _draft(image, least, turn) if ours and reading.decode == "draft" and least else 1
        if deep is None:
            image.load()
            image = _plain_mode(image)
            if image.mode not in ("L", "RGB"):
                deep = _values(image)
        if deep is not None:
            return _turned(deep, turn), None
        pixels, box = _reduced(image, least, turn)
    return pixels, None if draft * box == 1 else Origin(rows, columns, draft * box)


def _turn_of(image, upright):
    """What turns the pixels upright, or back to how they lie in the file."""
    try:
        turn = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF data is as good as none
        turn = 1
    turn = turn if turn in _TURNS else 1
    if image.format == "TIFF":  # which Pillow turns by itself when it loads
        return 1 if upright else _UNTURNED.get(turn, turn)
    return turn if upright else 1


def _draft(image, least, turn):
    """Have a JPEG file decoded at a half, a quarter or an eighth; the fraction's denominator."""
    width = image.width
    image.draft(None, least[::-1] if turn < 5 else least)
    return round(width / image.width)


def _plain_mode(image):
    """Grey or colour without alpha, or the mode of deeper pixels."""
    if image.mode[0] in "IF":
        return image
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    return image if image.mode == mode else image.convert(mode)  # which copies


def _values(image):
    """Values of an image whose pixels are deeper than a byte, (1, height, width)."""
    values = np.asarray(image)[None]
    if image.mode.startswith("I;16"):
        return values.astype(np.uint16)
    # What Pillow has no other mode for: 16 bits of PGM and of images made by hand.
    is_16_bit = image.mode == "I" and image.format != "TIFF"
    if is_16_bit and values.min() >= 0 and values.max() <= 65535:
        return values.astype(np.uint16)
    return values


def _reduced(image, least, turn):
    """Pixels of bytes, upright and reduced, and the side of the boxes."""
    from PIL import Image

    columns, rows = image.size if turn < 5 else image.size[::-1]
    box = choose_box((rows, columns), None if least is None else lambda *_: least)
    if box > 1:
        if turn > 1 and (rows % box or columns % box):  # a box that is cut comes last
            image, turn = image.transpose(Image.Transpose[_TURNS[turn]]), 1
        image = image.reduce(box)
    pixels = np.asarray(image)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return _turned(pixels, turn), box


def _turned(pixels, turn):
    """Pixels (channels, height, width), turned upright."""
    if turn >= 5:
        pixels = pixels.swapaxes(-1, -2)
    if turn in (2, 3, 6, 7):
        pixels = pixels[..., ::-1]
    if turn in (3, 4, 7, 8):
        pixels = pixels[..., ::-1, :]
    return pixels


def _is_deep(image):
    """Whether an image that is not loaded has colours of 16 bits, of which Pillow reads 8."""
    known = image.mode in ("RGB", "RGBA", "RGBX", "LA") and image.format in ("PNG", "TIFF")
    if not known or not getattr(image, "tile", None):
        return False
    if image.format == "TIFF":
        if max(image.tag_v2.get(_BITS_PER_SAMPLE, (8,))) < 16:
            return False
        if image.tag_v2.get(_PLANES) == 2:
            raise PictureError(
                "its colours of 16 bits lie in separate planes; save them interleaved"
            )
    return ";16" in _raw_mode(image.tile[0])


def _deep_pixels(image):
    """Colours of 16 bits.

    Pillow reads the upper 8, and the lower 8 where it is told that the bytes are in the other
    order.
    """
    raw = _raw_mode(image.tile[0])
    if raw == "LA;16B":  # four bytes a pixel, of which the first two are grey
        image.tile = [_with_raw_mode(tile, "RGBA") for tile in image.tile]
        image.load()
        high, low = np.asarray(image).astype(np.uint16)[..., :2].transpose(2, 0, 1)
        return (256 * high + low)[None]
    low = _opened_again(image)
    low.tile = [_with_raw_mode(tile, _in_other_order(raw)) for tile in low.tile]
    image.load()
    low.load()
    high, low = (np.asarray(half).astype(np.uint16)[..., :3] for half in (image, low))
    return (256 * high + low).transpose(2, 0, 1)


def _raw_mode(tile):
    return tile.args if isinstance(tile.args, str) else str(tile.args[0])


def _with_raw_mode(tile, raw):
    return tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:]))


def _in_other_order(raw):
    order = raw[-1] if raw[-1] in "BL" else {"little": "L", "big": "B"}[sys.byteorder]
    return raw.rstrip("BLN") + {"B": "L", "L": "B"}[order]


def _opened_again(image):
    from PIL import Image

    place = image.fp.tell()
    image.fp.seek(0)
    again = Image.open(io.BytesIO(image.fp.read()))
    image.fp.seek(place)
    again.seek(image.tell())  # of several pages
    return again


def what_is_wrong(error):
    """Why a file could not be read, without anything of what it holds."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is of no image format that Pillow knows"
    if isinstance(error, Image.DecompressionBombError):
        return (
            "it has more pixels than Pillow takes for harmless; raise PIL.Image.MAX_IMAGE_PIXELS "
            "if you trust it"
        )
    if isinstance(error, MemoryError):
        return "its pixels do not fit into memory"
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if isinstance(error, PermissionError):
        return "reading it is not permitted"
    if isinstance(error, (ImportError, PictureError)):  # said by us, with what to do
        return str(error).rstrip(".")
    if "truncated" in str(error) or isinstance(error, EOFError):
        return "it is truncated"
    return f"it is damaged ({type(error).__name__})"


# Blocks of 16 MiB that Pillow keeps for the next image, in place of asking the system each time.
_KEPT_BLOCKS = 8

_lock, _users, _entries, _blocks = threading.Lock(), [0], [], [0]


@contextmanager
def pillow_at_work():
    """Context in which many images are decoded, in any thread.

    Without Pillow's warnings, of large images and odd metadata: each image gives pixels or an
    error, so they have nothing to add. And with memory that goes from one image to the next, which
    saves a tenth of the time. Both settings are the process's: threads that are in the context at
    once share them, and the last one takes back what the first one set. (A filter may stay where
    others give back an older list of filters meanwhile; it is about Pillow's warnings alone.)
    """
    from PIL import Image

    with _lock:
        _users[0] += 1
        if _users[0] == 1:
            known, bomb = list(warnings.filters), Image.DecompressionBombWarning
            warnings.filterwarnings("ignore", category=bomb)
            warnings.filterwarnings("ignore", module=r"PIL\.")
            _entries[:] = [entry for entry in warnings.filters[:2] if entry not in known]
            _blocks[0] = Image.core.get_blocks_max()
            Image.core.set_blocks_max(max(_blocks[0], _KEPT_BLOCKS))
    try:
        yield
    finally:
        with _lock:
            _users[0] -= 1
            if not _users[0]:
                Image.core.set_blocks_max(_blocks[0])
                for entry in _entries:
                    if entry in warnings.filters:
                        warnings.filters.remove(entry)

"""Text for a page: names of files may hold anything."""

import html


def shown(text):
    """Text that is safe in HTML, and shows what can't be seen.

    Parameters
    ----------
    text : str

    Returns
    -------
    escaped : str
        Without characters that do not print, or turn the direction of others: those are written
        as Python would, and bytes of a name that are no text as ``\\xff``.
    """
    return html.escape("".join(map(_visible, str(text))))


def _visible(character):
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # how Python keeps a byte that it can't decode
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def name(path):
    """A path, isolated from what is written in the other direction around it."""
    return f"<bdi>{shown(path)}</bdi>"


def number(value):
    """A number, short; nothing for one that is not known."""
    return "" if value is None or value != value else f"{value:.6g}"


def share(value):
    """A share in percent."""
    return f"{100 * value:.4g}\N{NO-BREAK SPACE}%"


def counted(count, one, several=None):
    """A number with its noun."""
    return f"{count} {one if count == 1 else several or one + 's'}"

"""Pictures that the command line names: folders and files."""

import os

from ._errors import UsageError


def add_pictures(parser, name, *, several, text):
    """Let a verb take pictures."""
    parser.add_argument(name, nargs="+" if several else None, metavar=name.upper(), help=text)


def list_pictures(names, pattern=None, may_be_empty=False):
    """Paths of all pictures.

    Parameters
    ----------
    names : str or list of str
        Folders, searched to any depth, and files.
    pattern : str, optional
        Those of folders that match it.
    may_be_empty : bool
        Whether folders without pictures are no error.

    Returns
    -------
    paths : list of str
    below : list of str
        The path of each below its folder, or the name of a file.
    """
    from ..datasets import image_folder

    paths, below = [], []
    for name in [names] if isinstance(names, str) else names:
        if os.path.isdir(name):
            try:
                found = image_folder(name, pattern=pattern)[0].tolist()
            except ValueError as error:
                if may_be_empty:
                    continue
                raise UsageError(str(error).removeprefix("image_folder: ")) from error
            paths += found
            below += [os.path.relpath(path, name) for path in found]
        else:
            paths.append(name)
            below.append(os.path.basename(name))
    return paths, below

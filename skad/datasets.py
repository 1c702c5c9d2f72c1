"""Image folders as arrays of paths, which scikit-learn slices, pickles and hashes as they are."""

import os
from pathlib import Path

import numpy as np

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def image_folder(path, *, extensions=EXTENSIONS):
    """List the images below a folder; each sub-folder is a class.

    Nothing is opened: detectors take the paths and read the images batch by batch.

    Parameters
    ----------
    path : path
        The folder, searched to any depth. Hidden files and folders are passed over.
    extensions : sequence of str
        File endings that count as images, in any case.

    Returns
    -------
    paths : ndarray of str, shape (n_images,)
        Sorted, so that the order is the same on every machine.
    labels : ndarray of str, shape (n_images,)
        Name of the first folder below `path` on the way to each image; "" for images that lie
        directly in `path`.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such folder.
    ValueError
        If it holds no images.

    Examples
    --------
    >>> from pathlib import Path
    >>> import sklearn.datasets
    >>> from skad.datasets import image_folder
    >>> paths, labels = image_folder(Path(sklearn.datasets.__file__).parent / "images")
    >>> [Path(path).name for path in paths]
    ['china.jpg', 'flower.jpg']
    """
    if isinstance(extensions, str):
        raise TypeError(f"image_folder: extensions is one string; give a list: [{extensions!r}].")
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"image_folder: {str(root)!r} does not exist.")
    if not root.is_dir():
        raise NotADirectoryError(f"image_folder: {str(root)!r} is a file, not a folder.")
    endings = tuple(ending.lower() for ending in extensions)
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(endings) and not name.startswith("."):
                found.append(Path(folder, name).relative_to(root))
    if not found:
        raise ValueError(
            f"image_folder: {str(root)!r} holds no images; files ending in "
            f"{', '.join(extensions)} count."
        )
    found.sort()
    labels = [file.parts[0] if len(file.parts) > 1 else "" for file in found]
    return np.array([str(root / file) for file in found]), np.array(labels)

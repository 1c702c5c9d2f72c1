"""Picture files in folders and tar files, as arrays of paths or members.

scikit-learn slices, pickles and hashes such an array; detectors read the pictures batch by batch.
"""

import os
import tarfile
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import numpy as np

from ._types import FilePath
from .images._encoded import TarMember, is_address, is_path, open_binary, without_secrets

__all__ = ["image_folder", "tar_images"]

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

# Bytes of a label in a tar file, at the most: a class, not a document.
_LONGEST_LABEL = 1024


def image_folder(
    path: FilePath,
    *,
    recursive: bool = True,
    pattern: str | None = None,
    extensions: Sequence[str] = EXTENSIONS,
) -> tuple[np.ndarray, np.ndarray]:
    """List the images in a folder; each sub-folder is a class.

    No file is opened. Detectors take the paths and read the images batch by batch.

    Parameters
    ----------
    path : path
        The folder. Hidden files and folders are skipped, and so are links that lead out of it.
        Links to folders are not followed.
    recursive : bool, default=True
        Search sub-folders, to any depth.
    pattern : str, optional
        Keep only images whose path below `path`, with slashes, matches this, as in ``fnmatch``. A
        ``"*"`` stands for any characters, including slashes: ``"*/good/*"``, ``"train_*.png"``.
    extensions : sequence of str
        File endings that count as images, in any case.

    Returns
    -------
    paths : ndarray of str, shape (n_images,)
        Sorted, so that the order is the same on every machine.
    labels : ndarray of str, shape (n_images,)
        Name of the first folder below `path` that leads to each image; "" for images directly in
        `path`.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such folder.
    ValueError
        If it contains no images, or none that match.

    Examples
    --------
    >>> from pathlib import Path
    >>> import sklearn.datasets
    >>> from skad.datasets import image_folder
    >>> folder = Path(sklearn.datasets.__file__).parent
    >>> paths, labels = image_folder(folder / "images")
    >>> [Path(path).name for path in paths]
    ['china.jpg', 'flower.jpg']
    >>> image_folder(folder, pattern="images/*")[1].tolist()
    ['images', 'images']
    """
    endings = _endings(extensions, "image_folder")
    root = Path(path)
    if not root.exists():
        raise FileNotFoundError(f"image_folder: {str(root)!r} does not exist.")
    if not root.is_dir():
        raise NotADirectoryError(f"image_folder: {str(root)!r} is a file, not a folder.")
    inside = os.path.join(os.path.realpath(root), "")
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        for name in files:
            file = Path(folder, name)
            below = file.relative_to(root)
            counts = _is_image_name(name, endings) and _matches(below, pattern)
            if counts and file.is_file() and os.path.realpath(file).startswith(inside):
                found.append(below)
    if not found:
        which = "" if pattern is None else f" that match {pattern!r}"
        raise ValueError(
            f"image_folder: {str(root)!r} holds no images{which}; files ending in "
            f"{', '.join(extensions)} count."
        )
    found.sort()
    labels = [file.parts[0] if len(file.parts) > 1 else "" for file in found]
    return np.array([str(root / file) for file in found]), np.array(labels)


def tar_images(
    paths: FilePath | Sequence[FilePath], *, extensions: Sequence[str] = EXTENSIONS
) -> tuple[np.ndarray, np.ndarray]:
    """List the images in tar files, such as shards of WebDataset.

    Nothing is unpacked. Each image is read from its position in the tar file, by any number of
    threads.

    Parameters
    ----------
    paths : path or list of paths
        Uncompressed tar files, or addresses such as "s3://bucket/shard.tar".
    extensions : sequence of str
        Endings of members that count as images, in any case.

    Returns
    -------
    images : ndarray of TarMember, shape (n_images,)
        In the order of `paths`, and in the order of each tar file. Detectors take this array;
        scikit-learn slices and pickles it.
    labels : ndarray of str, shape (n_images,)
        Content of the member with the same name and the ending ".cls"; otherwise the first folder
        in the name; otherwise "".

    Raises
    ------
    FileNotFoundError, ValueError
        If a tar file is missing, compressed or broken, or if there are no images.

    Examples
    --------
    >>> import tarfile
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import sklearn.datasets
    >>> from skad import FeatureExtractor
    >>> from skad.datasets import tar_images
    >>> photos = Path(sklearn.datasets.__file__).parent / "images"
    >>> with TemporaryDirectory() as folder:
    ...     shard = Path(folder, "shard-0.tar")
    ...     with tarfile.open(shard, "w") as tar:
    ...         for name in ("china.jpg", "flower.jpg"):
    ...             tar.add(photos / name, f"photos/{name}")
    ...     images, labels = tar_images(shard)
    ...     features = FeatureExtractor().fit_transform(images)
    >>> [image.name for image in images], labels.tolist(), features.shape
    (['photos/china.jpg', 'photos/flower.jpg'], ['photos', 'photos'], (2, 288))
    """
    endings = _endings(extensions, "tar_images")
    found, labels = [], []
    for shard in [paths] if is_path(paths) else paths:
        shard = os.fspath(shard)
        images, classes = _members(shard, endings)
        found += images
        for image in images:
            key, parts = _key(image.name), PurePosixPath(image.name).parts
            labels.append(classes.get(key, parts[0] if len(parts) > 1 else ""))
    if not found:
        raise ValueError(
            f"tar_images: there are no images; members ending in {', '.join(extensions)} count."
        )
    array = np.empty(len(found), dtype=object)
    array[:] = found
    return array, np.array(labels)


def _members(shard, endings):
    """Images of a tar file, and the labels by name."""
    if not is_address(shard) and not os.path.isfile(shard):
        raise FileNotFoundError(f"tar_images: {without_secrets(shard)!r} is no file.")
    images, classes = [], {}
    try:
        # ":" is for tar files that are not compressed, within which a place can be gone to.
        with open_binary(shard) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if not member.isreg():
                    continue
                if _is_image_name(PurePosixPath(member.name).name, endings):
                    place = (member.name, member.offset_data, member.size)
                    images.append(TarMember(shard, *place))
                elif member.name.endswith(".cls"):
                    label = tar.extractfile(member).read(_LONGEST_LABEL)
                    classes[_key(member.name)] = label.decode("utf-8", "replace").strip()
    except tarfile.TarError as error:
        raise ValueError(
            f"tar_images: {without_secrets(shard)!r} could not be read as a tar file that is not "
            "compressed; unpack it, or pack it anew by tar -cf."
        ) from error
    return images, classes


def _key(name):
    """What members of one sample have in common: the name up to the first dot of its last part."""
    folder, _, last = name.rpartition("/")
    return folder, last.partition(".")[0]


def _endings(extensions, owner):
    if isinstance(extensions, str):
        raise TypeError(f"{owner}: extensions is one string; give a list: [{extensions!r}].")
    return tuple(ending.lower() for ending in extensions)


def _is_image_name(name, endings):
    return name.lower().endswith(endings) and not name.startswith(".")


def _matches(file, pattern):
    return pattern is None or fnmatchcase(file.as_posix(), pattern)

"""save, load and describe."""

import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .. import __version__
from .._types import FilePath
from .._whole import check_writable
from ._archive import ModelFileError, json_of, read_archive, write_archive
from ._decode import Decoder
from ._encode import Encoder
from ._networks import StoredNetworks

# What this version writes. A later skad reads it; an earlier one says that it does not.
FORMAT = 1

_LIBRARIES = (
    *("torch", "torchvision", "timm", "scikit-learn", "numpy", "faiss-cpu", "faiss-gpu-cu12"),
    "skops",
)


def save(estimator: object, path: FilePath, *, weights: str = "stored") -> None:
    """Write a fitted estimator to a file, without pickle and without code.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of skad, a Pipeline of them, or one that contains estimators of
        scikit-learn.
    path : path
        The file; by convention it ends in ".skad".
    weights : {"stored", "reference"}, default="stored"
        What to do with networks that have published weights. "stored" stores them, so that the file
        is all that is needed. "reference" stores only their name and digest. Trained networks are
        always stored.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator was not fitted.
    TypeError
        If it contains functions or networks of your own, which only code could restore.
    OSError
        If the file cannot be written. An earlier file of that name is then left as it was.

    See Also
    --------
    skad.load : Read the file.

    Notes
    -----
    The file is a zip of ``model.json`` (class, parameters, small values, versions), safetensors
    (networks, galleries, statistics) and, for estimators of scikit-learn, files of skops. It ends
    with a digest of all parts. On the same device, a loaded estimator gives the same scores to the
    bit.

    Examples
    --------
    >>> import os, tempfile
    >>> import skad
    >>> from sklearn.datasets import load_digits
    >>> digits, labels = load_digits(return_X_y=True)
    >>> detector = skad.DN2(image_size=32).fit(digits[labels == 0][:40])
    >>> path = os.path.join(tempfile.mkdtemp(), "zeros.skad")
    >>> skad.save(detector, path)
    >>> same = skad.load(path).score_samples(digits[:9]) == detector.score_samples(digits[:9])
    >>> bool(same.all())
    True
    """
    from safetensors.torch import save as to_bytes
    from sklearn.utils.validation import check_is_fitted

    if weights not in ("stored", "reference"):
        raise ValueError(f'save: weights must be "stored" or "reference"; got {weights!r}.')
    check_is_fitted(estimator)
    check_writable(path)
    owner = type(estimator).__name__
    encoder = Encoder(owner, references=weights == "reference")
    tree = encoder.encode(estimator, owner)
    told = {
        "format": FORMAT,
        "skad": __version__,
        "class": owner,
        "libraries": library_versions(),
        "networks": encoder.networks.told,
        "halves": {},
        "estimator": tree,
    }
    parts = {"arrays.safetensors": _arrays_to_bytes(encoder.arrays)} | encoder.others
    for name, state in encoder.networks.states.items():
        state, told["halves"][name] = _halved(state)
        parts[f"{name}.safetensors"] = to_bytes(state)
    write_archive(path, {"model.json": json.dumps(told).encode()} | parts)


def load(path: FilePath, *, device: str | None = None) -> Any:
    """Read a fitted estimator from a file that :func:`save` wrote.

    No code in the file is run: it contains names of classes of skad, and numbers.

    Parameters
    ----------
    path : path
        The file.
    device : str, optional
        Where networks compute: "auto" or the name of a device of torch. By default the device that
        was set when they were fitted, or the CPU if that device is missing.

    Returns
    -------
    estimator : estimator
        The fitted estimator.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        A ValueError: if the file is damaged or was changed, is of a later version, or is no model.
    OSError
        If it refers to published weights that cannot be had.

    See Also
    --------
    skad.describe : Tell what a file contains, without loading it.
    """
    told, parts = _open(path)
    arrays = _arrays_of(path, _part(parts, "arrays.safetensors", path))
    states = {
        one["name"]: _state_reader(path, parts, one["name"], told["halves"])
        for one in told["networks"]
        if one["weights"] == "stored"
    }
    others = {name: part for name, part in parts.items() if name.startswith("sklearn/")}
    networks = StoredNetworks(path, told["networks"], states)
    return Decoder(path, arrays, networks, others, device).decode(told["estimator"])


def describe(path: FilePath) -> dict[str, Any]:
    """Tell what a model file contains, without loading it.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    description : dict
        "class", "skad" and "libraries" (versions), "networks" (name, digest, terms of the
        weights, whether they are stored), "parameters" of the estimator, and "size" (bytes of each
        part).
    """
    told, parts = _open(path)
    names = ("class", "skad", "libraries", "networks")
    state = dict(told["estimator"].get("state", []))
    parameters = {
        key: _named(value)
        for key, value in state.items()
        if not key.endswith("_") and not key.startswith("_")
    }
    sizes = {name: len(part) for name, part in parts.items()}
    return {name: told[name] for name in names} | {"parameters": parameters, "size": sizes}


def _named(value):
    """A parameter as people read it: of an estimator, its class."""
    if not isinstance(value, dict):
        return value
    name = value.get("class", value.get("factory", "..."))
    inner = dict(value.get("state", [])).get("estimator") if name == "FrozenEstimator" else None
    return _named(inner) if inner is not None else name


def _open(path):
    parts = read_archive(path)
    told = json_of(parts, "model.json", path)
    known = isinstance(told, dict) and {"format", "estimator", "networks", "halves"} <= told.keys()
    if not known or told["format"] != FORMAT:
        which = told.get("format") if isinstance(told, dict) else None
        raise ModelFileError(
            f"{path}: is of format {which!r}, and skad {__version__} reads format {FORMAT}; it was "
            f"written by skad {told.get('skad') if isinstance(told, dict) else '?'}."
        )
    return told, parts


def _part(parts, name, path):
    if name not in parts:
        raise ModelFileError(f"{path}: lacks the part {name!r}.")
    return parts[name]


def library_versions():
    """Versions of the libraries that scores depend on, by name."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _arrays_to_bytes(arrays):
    from safetensors.numpy import save as to_bytes

    return to_bytes(arrays)


def _arrays_of(path, part):
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        return from_bytes(bytes(part))
    except (SafetensorError, ValueError) as error:
        raise ModelFileError(f"{path}: its arrays can't be read ({error}).") from error


def _state_reader(path, parts, name, halves):
    """What reads the parameters of a network when they are asked for."""

    def read():
        from safetensors import SafetensorError
        from safetensors.torch import load as from_bytes

        try:
            state = from_bytes(bytes(_part(parts, f"{name}.safetensors", path)))
        except (SafetensorError, ValueError) as error:
            raise ModelFileError(f"{path}: network {name!r} can't be read ({error}).") from error
        for key in halves.get(name, ()):
            state[key] = state[key].float()
        return state

    return read


def _halved(state):
    """Parameters in half precision where that loses nothing, and which ones."""
    import torch

    halved, names = {}, []
    for name, value in state.items():
        if value.dtype == torch.float32 and torch.equal(value.half().float(), value):
            value = value.half()
            names.append(name)
        halved[name] = value
    return halved, names

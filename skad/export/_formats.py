"""to_onnx and to_torch: a graph in a file, after a look that it is the detector."""

import json
import logging
import warnings
from contextlib import contextmanager, redirect_stdout
from io import BytesIO, StringIO

import numpy as np
import torch

from .. import __version__
from .._types import FilePath, Images
from .._verdicts import mapper_within
from .._whole import check_writable, write_whole
from ..networks._cache import weights_digest
from ._gate import check_same, gate_pictures
from ._graph import DetectorGraph
from ._parts import ExportError

# Of the pictures that a graph is made with: none of them is square, reduced, or alone.
_EXAMPLE = (2, 300, 420)


def to_onnx(detector: object, path: FilePath, *, pictures: Images = None) -> float:
    """Write a fitted detector as one ONNX graph, from pixels to the decision.

    The graph takes `pixels`, uint8 of shape (n, height, width, 3): n pictures of the same size, any
    size, upright and in RGB (in grey with one channel, if the network takes those). It returns

    - `score` (n,), float64: as `decision_function`, below 0 for anomalies;
    - `anomaly` (n,), bool: True for anomalies;
    - `p_value` (n,), float64, of a :class:`~skad.ConformalDetector` or
      :class:`~skad.ConformalMapDetector`;
    - `map` (n, height, width), float32, of map detectors: as `score_maps`.

    Resizing, network, gallery and threshold are part of the graph. Before the file is written, the
    graph and the detector score 64 pictures and must agree.

    Parameters
    ----------
    detector : estimator
        A fitted detector of skad, a Pipeline of an extractor (or adapter) and a scorer, or a
        ConformalDetector with ``method="split"``, or a ConformalMapDetector, around one of these.
    path : path
        The file; by convention it ends in ".onnx".
    pictures : images, optional
        Paths or arrays that both score. By default 64 pictures made of two photographs of
        scikit-learn: pieces in many sizes, noise, single colours. Your own pictures are a better
        test of decisions.

    Returns
    -------
    largest : float
        Largest difference between scores, relative to the score or the threshold, whichever is
        larger.

    Raises
    ------
    ExportError
        A ValueError: if a part cannot be exported (the message names it); if scores differ by more
        than 1e-4, or any decision differs. An earlier file of that name is then left as it was.
    ImportError
        Without ``pip install "skad[export]"``.
    OSError
        If the file cannot be written.

    See Also
    --------
    skad.export.to_torch : The same for torch.
    skad.save : Write the whole estimator, to load it in Python.

    Notes
    -----
    Not exported: galleries of whole maps (SPADE without `n_centroids`), ODIN, the many views of
    rotation prediction, estimators of scikit-learn, bfloat16. Indexes that may miss a neighbour
    ("ivf", "hnsw") become exact.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import DN2
    >>> from skad.backbones import small_cnn
    >>> from skad.export import to_onnx
    >>> flower = load_sample_images().images[1]
    >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2).reshape(40, 80, 80, 3)
    >>> path = os.path.join(tempfile.mkdtemp(), "flower.onnx")
    >>> to_onnx(DN2(small_cnn, weights=None).fit(tiles), path, pictures=tiles[:8]) < 1e-4
    True
    """
    _needs("onnx", "onnxscript", "onnxruntime")
    check_writable(path)
    graph, program = _exported(detector)
    with _quiet():
        onnx = torch.onnx.export(
            program, (), input_names=["pixels"], output_names=graph.outputs, verbose=False
        )
    _name_axes(onnx.model.graph.inputs[0])
    for name, value in _told(detector, graph).items():
        onnx.model.metadata_props[f"skad.{name}"] = value
    content = onnx.model_proto.SerializeToString()
    run, pictures = _onnx_runner(content, graph.outputs), _pictures(pictures, graph)
    largest = check_same(run, detector, graph, pictures, "the ONNX graph")
    write_whole(path, [content])
    return largest


def to_torch(detector: object, path: FilePath, *, pictures: Images = None) -> float:
    """Write a fitted detector as one graph of ``torch.export``, from pixels to the decision.

    ``torch.export.load(path).module()`` maps `pixels` to a tuple. Input and outputs, and their
    order, are those of :func:`to_onnx`.

    Parameters
    ----------
    detector : estimator
        See :func:`to_onnx`.
    path : path
        The file; by convention it ends in ".pt2".
    pictures : images, optional
        See :func:`to_onnx`.

    Returns
    -------
    largest : float
        Largest difference between scores, relative to the score or the threshold, whichever is
        larger.

    Raises
    ------
    ExportError, OSError
        See :func:`to_onnx`.

    Examples
    --------
    >>> import os, tempfile, torch
    >>> from sklearn.datasets import load_sample_images
    >>> from skad import DN2
    >>> from skad.backbones import small_cnn
    >>> from skad.export import to_torch
    >>> flower = load_sample_images().images[1]
    >>> tiles = flower[:400, :640].reshape(5, 80, 8, 80, 3).swapaxes(1, 2).reshape(40, 80, 80, 3)
    >>> path = os.path.join(tempfile.mkdtemp(), "flower.pt2")
    >>> largest = to_torch(DN2(small_cnn, weights=None).fit(tiles), path, pictures=tiles[:8])
    >>> score, anomaly = torch.export.load(path).module()(torch.from_numpy(tiles[:2]))
    >>> score.shape
    torch.Size([2])
    """
    check_writable(path)
    graph, program = _exported(detector)
    # Not into a file: on a disk that is full, torch ends the process.
    file, told = BytesIO(), {"skad.json": json.dumps(_told(detector, graph))}
    with _quiet():
        torch.export.save(program, file, extra_files=told)
        file.seek(0)
        module = torch.export.load(file).module()

    def run(pixels):
        with torch.inference_mode():
            found = module(torch.from_numpy(np.array(pixels)))
        return {name: one.numpy() for name, one in zip(graph.outputs, found)}

    largest = check_same(run, detector, graph, _pictures(pictures, graph), "the torch graph")
    write_whole(path, [file.getbuffer()])
    return largest


def _exported(detector):
    """The graph of a detector as a module, and as torch.export has it."""
    graph = DetectorGraph(detector).eval()
    example = torch.zeros((*_EXAMPLE, graph.preprocessing.n_channels), dtype=torch.uint8)
    dynamic = torch.export.Dim.DYNAMIC
    shapes = {"pixels": {0: dynamic, 1: dynamic, 2: dynamic}}
    try:
        with _quiet(), torch.no_grad():
            return graph, torch.export.export(
                graph, (example,), dynamic_shapes=shapes, strict=False
            )
    except Exception as error:  # whatever in a network torch does not know how to follow
        first = str(error).strip().partition("\n")[0]
        raise ExportError(
            f"{graph.owner}: the network, {graph.backbone}, is none that "
            f"torch.export can follow ({type(error).__name__}: {first})."
        ) from error


def _name_axes(pixels):
    """Have a viewer of graphs, and errors of ONNX Runtime, say what the sides of the input are."""
    for axis, name in enumerate(("n", "height", "width")):
        pixels.shape[axis] = name


def _told(detector, graph):
    """What a file says of itself, as strings by name."""
    told = {
        "version": __version__,
        "detector": graph.owner,
        "digest": weights_digest(graph),
        "offset": repr(graph.offset),
        "image_size": str(graph.preprocessing.image_size),
        "outputs": ", ".join(graph.outputs),
    }
    if hasattr(detector, "false_alarm_rate"):
        told["false_alarm_rate"] = repr(float(detector.false_alarm_rate))
    if "map" in graph.outputs:
        told["pixel_offset"] = repr(mapper_within(detector).pixel_offset_)
    return told


def _pictures(given, graph):
    n_channels = graph.preprocessing.n_channels
    return gate_pictures(n_channels) if given is None else _as_pixels(given, n_channels)


def _as_pixels(given, n_channels):
    """Pictures as the graph takes them, of whatever skad takes."""
    from sklearn.base import BaseEstimator

    from ..images._door import check_images

    source, pixels = check_images(BaseEstimator(), given), []
    for index in range(len(source)):
        (one,) = source.read(index, index + 1).pixels
        one = np.asarray(one)
        if one.dtype != np.uint8:
            raise ExportError(
                f"export: picture {index} is of {one.dtype}; a graph takes bytes, so "
                "give pictures of 8 bits."
            )
        planes = np.broadcast_to(one, (n_channels, *one.shape[1:])) if len(one) == 1 else one
        pixels.append(np.ascontiguousarray(planes.transpose(1, 2, 0)))
    return pixels


def _onnx_runner(content, names):
    """What runs a graph by ONNX Runtime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda pixels: dict(zip(names, session.run(names, {"pixels": pixels})))


def _needs(*modules):
    import importlib.util

    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f'export needs {", ".join(missing)}: pip install "skad[export]"')


@contextmanager
def _quiet():
    """Context in which torch's exporter says nothing of its own progress."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

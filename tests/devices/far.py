"""A pretend second device, "far": what would break on an accelerator breaks on any machine.

A far tensor keeps its numbers in a tensor of the CPU, but torch takes it for one of another device:
it refuses the company of CPU tensors where CUDA does, and numpy cannot see it. float64 can be
refused too, as Apple's MPS does. It draws from the CPU's generator. Tensors made on a stream must
be waited for before another stream uses them, which CUDA leaves to luck.

It rests on torch's backends in Python, which torch calls experimental.
"""

import threading
from contextlib import contextmanager
from functools import partial

import torch
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "far"
aten = torch.ops.aten

_AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

# Operators that take their indices from the CPU, whatever device the tensor is on.
_INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
_INDICES = (torch.int64, torch.int32, torch.bool, torch.uint8)


class FarTensor(torch.Tensor):
    """A tensor that says it is far; `near` holds its numbers."""

    @staticmethod
    def __new__(cls, near):
        if near.dtype in (torch.float64, torch.complex128) and not Far.float64:
            raise TypeError("the far device has no float64; use float32, or the CPU.")
        # Views of parameters are no tensors of inference mode, even there.
        with torch.inference_mode(near.is_inference()):
            made = torch.Tensor._make_wrapper_subclass(
                cls,
                near.size(),
                strides=near.stride(),
                storage_offset=near.storage_offset(),
                dtype=near.dtype,
                layout=near.layout,
                device=f"{NAME}:0",
                requires_grad=near.requires_grad,
            )
        made.near = near
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _call(function, *args, **(kwargs or {}))

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, value):
        torch.Tensor.data.__set__(self, value)
        self.near = value.near

    def tolist(self):
        return self.cpu().tolist()

    def record_stream(self, stream):
        """Their memory may be given to others when the stream is done with it."""
        self.users = [*getattr(self, "users", []), stream]

    def numpy(self, *args, **kwargs):
        raise TypeError("can't convert a far tensor to numpy; use Tensor.cpu() first.")

    __array__ = numpy

    def __reduce_ex__(self, protocol):
        return _remade, (self.near, isinstance(self, torch.nn.Parameter))

    def __repr__(self, **kwargs):
        return f"far {self.near!r}"


def _call(function, *args, **kwargs):
    """An operator on tensors of which some are far, or one that is to make a far tensor."""
    parts = function.decompose(*args, **kwargs)  # inference mode leaves that to us
    if parts is not NotImplemented:
        return parts
    name = function.overloadpacket.__name__
    given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    _check_streams(name, given)
    one_is_far = result_is_far = any(isinstance(t, FarTensor) for t in given)
    if kwargs.get("device") is not None:
        result_is_far = torch.device(kwargs["device"]).type == NAME
        kwargs = {**kwargs, "device": "cpu"} if result_is_far else kwargs
    _check_company(name, args, kwargs, given, result_is_far)
    near = {id(t): getattr(t, "near", t) for t in given}
    given_args = args
    args, kwargs = tree_map_only(torch.Tensor, lambda t: near[id(t)], (args, kwargs))
    result = function(*args, **kwargs)
    # A tensor that was changed in place stays the one that it was.
    changed = {id(near[id(t)]): t for t in given}

    def outside(made):
        if id(made) in changed:
            return changed[id(made)]
        if not result_is_far:
            return made
        made = FarTensor(made)
        made.stream = Stream.of_thread()
        return made

    result = tree_map_only(torch.Tensor, outside, result)
    comes_back = [r for r in tree_leaves(result) if not isinstance(r, (FarTensor, type(None)))]
    Far.n_transfers += one_is_far and bool(comes_back or _size_depends_on_values(name, given_args))
    return result


def _check_streams(name, given):
    """Raise where a stream would use what another one may not have made yet."""
    here = Stream.of_thread()
    for tensor in given:
        made_on = getattr(tensor, "stream", None) if hasattr(tensor, "near") else None
        if made_on is None or made_on is here or made_on in here.waited_for:
            continue
        raise RuntimeError(f"{name}: a tensor of another stream was not waited for")


class Stream:
    """Where work on the device is done in order; each thread has one, unless it takes another."""

    _threads, _default = threading.local(), None

    def __init__(self, device=None):
        self.waited_for, self.n_events = set(), 0

    @classmethod
    def of_thread(cls):
        return getattr(cls._threads, "stream", None) or cls._of_process()

    @classmethod
    def _of_process(cls):
        cls._default = cls._default or Stream()
        return cls._default

    def __deepcopy__(self, memo):
        return self  # copies of tensors are of the same stream

    def record_event(self):
        assert self.of_thread() is self, "recorded behind what was done"
        self.n_events += 1
        return Event(self)

    def wait_event(self, event):
        self.waited_for.add(event.stream)


class Event:
    """A place in a stream."""

    def __init__(self, stream):
        self.stream = stream


@contextmanager
def use_stream(stream):
    """Context in which a thread's work is done on a stream."""
    before, Stream._threads.stream = getattr(Stream._threads, "stream", None), stream
    try:
        yield
    finally:
        Stream._threads.stream = before


def _size_depends_on_values(name, args):
    """Whether the device is waited for, since nobody else knows how large the result is."""
    by_mask = name in _INDEXING and any(
        isinstance(t, FarTensor) and t.dtype in (torch.bool, torch.uint8) for t in args[1]
    )
    return by_mask or name in ("nonzero", "masked_select", "_unique2", "unique_dim")


def _in_half_precision(product, *args):
    """A product inside of torch.autocast: what it takes is rounded."""
    dtype = torch.get_autocast_dtype(NAME)
    with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST):
        return product(*tree_map_only(torch.Tensor, lambda t: t.to(dtype), args))


def _copy_from(source, target, non_blocking=False):
    return _call(aten.copy_.default, target, source)


def _check_company(name, args, kwargs, given, result_is_far):
    """Raise where CUDA would: of CPU tensors, only single numbers and indices are let in."""
    generator = kwargs.get("generator")
    if result_is_far and generator is not None:
        raise RuntimeError(f"{name}: expected a generator of far, but found one of the CPU")
    near = [t for t in given if not isinstance(t, FarTensor)]
    if len(near) == len(given) or name == "copy_":
        return
    if name in _INDEXING:
        if not isinstance(args[0], FarTensor):
            raise RuntimeError("indices should be on the same device as the indexed tensor (cpu)")
        near = [t for t in near if t.dtype not in _INDICES]
    if any(t.ndim or name in ("stack", "cat") for t in near):
        raise RuntimeError(f"{name}: expected all tensors on one device, but found far:0 and cpu")


def _remade(near, is_parameter):
    return torch.nn.Parameter(FarTensor(near)) if is_parameter else FarTensor(near)


class Far:
    """The device's module, as torch.cuda is CUDA's; also what the device allows and has seen."""

    Stream = Stream
    float64 = True
    n_transfers = 0  # of values to the CPU, each of which waits for the device
    _libraries = None

    @staticmethod
    def is_available():
        return Far._libraries is not None

    @staticmethod
    def device_count():
        return 1

    @staticmethod
    def current_device():
        return 0

    @staticmethod
    def stream(stream):
        return use_stream(stream)

    @staticmethod
    def current_stream(device=None):
        return Stream.of_thread()

    @staticmethod
    def _is_in_bad_fork():
        return False

    @staticmethod
    def manual_seed_all(seed):
        pass

    @staticmethod
    def get_rng_state(device=None):
        return torch.empty(0, dtype=torch.uint8)

    @staticmethod
    def set_rng_state(state, device=None):
        pass

    @staticmethod
    def get_amp_supported_dtype():
        return [torch.bfloat16, torch.float16]


def register():
    """Tell torch of the device, once and for the process."""
    if Far._libraries is None:
        _setup_privateuseone_for_python_backend(NAME, backend_module=Far())
        Far._libraries = [torch.library.Library(name, "IMPL") for name in ("_", "aten")]
        Far._libraries[0].fallback(_call, "PrivateUse1")
        Far._libraries[0].fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
        # These get far tensors, which torch does not hand to a fallback.
        Far._libraries[1].impl("_copy_from", _copy_from, "PrivateUse1")
        for product in (aten.conv2d.default, aten.linear.default, aten.matmul.default):
            kernel = partial(_in_half_precision, product)
            Far._libraries[1].impl(product, kernel, "AutocastPrivateUse1")
        torch.serialization.add_safe_globals([_remade])  # for torch.load()


@contextmanager
def without_float64():
    """Let the device refuse float64."""
    before, Far.float64 = Far.float64, False
    try:
        yield
    finally:
        Far.float64 = before

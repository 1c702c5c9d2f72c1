"""Stages of a network compiled while it is trained."""

import warnings
from contextlib import contextmanager

# Forms of inputs that one piece of code may be compiled for in a process: batches of an epoch have
# two sizes, and stages of a kind share their code.
_N_FORMS = 64


@contextmanager
def compiled(modules, backend):
    """Context in which modules run as ``torch.compile`` makes them.

    Hooks on the modules themselves go on to work, as only what is between is compiled.

    Parameters
    ----------
    modules : list of torch.nn.Module
    backend : bool or str
        A backend of ``torch.compile``; True is its own, False compiles nothing.

    Raises
    ------
    ValueError
        If torch knows no such backend.
    """
    import torch

    if not backend:
        yield
        return
    name, known = "inductor" if backend is True else backend, torch.compiler.list_backends()
    if name not in (known := [*known, "eager", "aot_eager"]):
        raise ValueError(
            f"compile must be a bool or one of torch's backends, {', '.join(known)}; got {name!r}."
        )
    before = [vars(module).get("forward") for module in modules]
    with torch._dynamo.config.patch(recompile_limit=_N_FORMS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The .grad attribute")  # which torch reads as it compiles
        for module in modules:
            module.forward = torch.compile(module.forward, backend=name)
        try:
            yield
        finally:
            for module, forward in zip(modules, before):
                vars(module).pop("forward")
                if forward is not None:
                    module.forward = forward

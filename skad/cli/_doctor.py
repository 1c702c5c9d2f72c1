"""``skad doctor``: what this machine has."""


def run(arguments):
    """Print versions, devices, extras and caches."""
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from .. import __version__
    from ..networks._device import resolve_device

    print(f"skad {__version__}, Python {platform.python_version()}, {platform.platform()}")
    needed = ("torch", "torchvision", "timm", "scikit-learn", "numpy", "pillow")
    extras = {"matplotlib": "plot", "fsspec": "remote", "skops": "files"}
    extras |= {"onnx": "export", "onnxscript": "export", "onnxruntime": "export"}
    for name in (*needed, *extras):
        try:
            print(f"  {name} {version(name)}")
        except PackageNotFoundError:
            fix = f' (pip install "skad[{extras[name]}]")' if name in extras else ""
            print(f"  {name} is not installed{fix}")
    for line in _told_of_faiss():
        print(f"  {line}")
    print(f"cores: {os.cpu_count()}, threads of torch: {torch.get_num_threads()}")
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        print(f"cuda:{index}: {torch.cuda.get_device_name(index)}, {memory:.0f} GiB")
    print(f'device="auto" is {resolve_device("auto")}')
    for name, folder in _caches().items():
        print(f"{name}: {folder}, {_size_of(folder) / 1e6:.0f} MB")
    return 0


def _told_of_faiss():
    """Lines on the distributions of faiss, of which there should be one, and where it works."""
    from importlib.metadata import packages_distributions, version

    names = sorted(set(packages_distributions().get("faiss", [])))
    if not names:
        yield "faiss is not installed (pip install faiss-cpu)"
        return
    import faiss

    cards = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0
    place = f"and {cards} card{'s' if cards > 1 else ''}" if cards else "alone"
    for name in names:
        yield f"{name} {version(name)} (works on the CPU {place})"
    if len(names) > 1:
        yield (
            f"warning: {' and '.join(names)} install the same module, faiss; which of them is "
            "there is a matter of chance, and removing one breaks the other. Remove all (pip "
            f"uninstall {' '.join(names)}), then install one."
        )


def _caches():
    import os

    import torch
    from huggingface_hub import constants

    return {
        "weights of the Hugging Face hub": constants.HF_HUB_CACHE,
        "weights of torchvision": os.path.join(torch.hub.get_dir(), "checkpoints"),
    }


def _size_of(folder):
    import os

    sizes = 0
    for where, _, files in os.walk(folder):
        paths = (os.path.join(where, name) for name in files)
        sizes += sum(os.path.getsize(path) for path in paths if not os.path.islink(path))
    return sizes

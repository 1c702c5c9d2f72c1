"""Networks made for images of one size, as most vision transformers are, at other sizes."""

from ._tokens import author, is_torchvision_vit


def metadata(network):
    """Metadata of a network as a dict, empty if it has none."""
    config = getattr(network, "pretrained_cfg", None) or {}
    return config if isinstance(config, dict) else config.to_dict()


def own_size(network):
    """Height and width of the images that a network was made for; None if any will do."""
    network = author(network)
    if is_torchvision_vit(network):
        return (network.image_size,) * 2
    size = getattr(getattr(network, "patch_embed", None), "img_size", None)
    if isinstance(size, tuple) and len(size) == 2:
        return size
    config = metadata(network)
    return tuple(config["input_size"][1:]) if config.get("fixed_input_size") else None


def check_patches(network, image_size):
    """Refuse sizes that patches do not divide, whose last pixels would be left out or refused."""
    network = author(network)
    patches = getattr(network, "patch_embed", None)
    if is_torchvision_vit(network):
        sides = (network.patch_size,)
    elif getattr(patches, "dynamic_img_pad", False) or getattr(network, "output_fmt", "") == "NHWC":
        return  # those fill up the rest
    else:
        sides = getattr(patches, "patch_size", None)
        sides = sides if isinstance(sides, tuple) else ()
    wrong = [side for side in sides if image_size % side]
    if wrong:
        low = image_size // wrong[0] * wrong[0]
        near = " or ".join(str(size) for size in (low, low + wrong[0]) if size)
        raise ValueError(
            f"image_size={image_size}: {type(network).__name__} cuts images into patches of "
            f"{wrong[0]} pixels a side, which do not divide it; the nearest sizes are {near}."
        )


def create_sized(create, config, image_size):
    """Create a network of timm for a size of images, where its metadata say that it is fixed.

    Parameters
    ----------
    create : callable
        Creates it, and takes ``img_size``.
    config : timm.models.PretrainedCfg or None
    image_size : int or None
    """
    fixed = config is not None and config.fixed_input_size
    if not fixed or image_size in (None, config.input_size[-1]):
        return create()
    try:
        return create(img_size=image_size)
    except (AssertionError, TypeError):  # has no such parameter; a trial shows whether it needs it
        return create()


def resize_input(network, image_size):
    """Let a network with weights take images of another size; its position embeddings are resized.

    Networks that have no way to do so are left as they are.
    """
    size = own_size(network)
    if image_size is None or size in (None, (image_size, image_size)):
        return network
    check_patches(network, image_size)
    if is_torchvision_vit(network):
        import torch
        from torchvision.models.vision_transformer import interpolate_embeddings

        state = interpolate_embeddings(image_size, network.patch_size, network.state_dict())
        resized = torch.nn.Parameter(state["encoder.pos_embedding"])
        network.encoder.pos_embedding = resized
        network.image_size, network.seq_length = image_size, resized.shape[1]
    elif hasattr(network, "set_input_size"):
        network.set_input_size(img_size=(image_size, image_size))
    return network


def size_error(network, image_size, error):
    """Error for images of a size that a network refuses in its own words."""
    size = own_size(network)
    told = f" It was made for images of {size[0]} x {size[1]} pixels." if size else ""
    return ValueError(
        f"image_size={image_size}: {type(author(network)).__name__} does not take images of that "
        f"size: {str(error).strip() or type(error).__name__}.{told} Give another image_size, or a "
        "factory that makes the network for this one."
    )

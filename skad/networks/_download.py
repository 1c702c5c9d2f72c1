"""Published weights: from the cache without asking anyone, else from the network, or a quick no."""

import os
import ssl
import threading
from functools import partial
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

# Seconds in which a server must answer at all.
_PATIENCE = 2

# What timm looks for in a repository that names no file.
_FILES = ("model.safetensors", "pytorch_model.bin")


def timm_weights(create, name, config):
    """Have timm create a network with its published weights.

    Parameters
    ----------
    create : callable
        Creates the network, and takes ``pretrained_cfg_overlay``.
    name : str
    config : timm.models.PretrainedCfg

    Returns
    -------
    network : torch.nn.Module
    """
    from huggingface_hub import constants, try_to_load_from_cache

    repository, _, revision = config.hf_hub_id.partition("@")
    files = [config.hf_hub_filename] if config.hf_hub_filename else _FILES
    look = partial(try_to_load_from_cache, repository, revision=revision or None)
    cached = next((path for path in map(look, files) if isinstance(path, str)), None)
    source = f"file {files[0]!r} of {config.hf_hub_id!r} on the Hugging Face hub"
    if cached is not None:
        create = partial(create, pretrained_cfg_overlay={"file": cached, "source": "timm"})
        return downloaded(create, name, source)
    return downloaded(create, name, source, constants.ENDPOINT)


def torchvision_weights(create, name, url):
    """Have torchvision create a network with its published weights, which lie at an address."""
    import torch

    file = url.rpartition("/")[2]
    cached = os.path.isfile(os.path.join(torch.hub.get_dir(), "checkpoints", file))
    return downloaded(create, name, f"file {file!r} at {url}", None if cached else url)


def downloaded(create, name, source, server=None):
    """Create a network whose weights may have to be downloaded.

    Parameters
    ----------
    create : callable
    name : str
        That of the network.
    source : str
        Where its weights are, for the error.
    server : str, optional
        Address that must answer first; libraries would ask for most of a minute.
    """
    try:
        if server is not None and not _answers(server):
            raise ConnectionError(f"{server} does not answer")
        return create()
    except Exception as error:  # each download library has its own errors
        if "size mismatch" in str(error):
            raise ValueError(
                f"the pretrained weights of backbone {name!r} fit images of its own size alone; "
                f"leave image_size out: {error}"
            ) from error
        raise OSError(
            f"the pretrained weights of backbone {name!r} could not be had: {source}. Without a "
            "connection, bring that file here by hand and give its path as weights='...', or use "
            "backbone='tiny', whose weights are part of the package."
        ) from error


def _answers(address):
    """Whether a server says anything at all within two seconds."""
    answered = threading.Event()

    def ask():
        try:
            urlopen(Request(address, method="HEAD"), timeout=_PATIENCE).close()
        except HTTPError:  # an answer
            pass
        except URLError as error:
            if not isinstance(error.reason, ssl.SSLError):  # whose certificates others may know
                return
        except Exception:  # of whatever kind: nobody sees it in this thread
            return
        answered.set()

    # Looking up a name has no time limit of its own, so it is left behind where it hangs.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return answered.is_set()

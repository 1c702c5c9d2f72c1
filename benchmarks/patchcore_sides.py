"""One fit by PatchCore, skad's or anomalib's, for ``benchmarks/beside_anomalib.py``.

Runs in either's environment: ``python -m benchmarks.patchcore_sides skad job.json``. Of anomalib
its model is called as its engine calls it, batch by batch, without the engine: neither Lightning
nor a loader of files is measured. Both resize by antialiased bicubic interpolation.
"""

import json
import sys

import numpy as np

from . import lite0
from .timing import measured, seconds

# Ends of the resolutions of an eighth and a sixteenth: skad's default, and layers of timm.
LAYERS = ["blocks.2", "blocks.4"]

BATCH_SIZE = 32


class Ours:
    """skad.PatchCore at its defaults."""

    def __init__(self, job):
        import faiss  # noqa: F401 - so that no import is measured
        import timm  # noqa: F401

        import skad

        self.detector = skad.PatchCore(
            **lite0.parameters(job["network"], job["weights"]),
            image_size=job["image_size"],
            layers=LAYERS,
            coreset_share=job["share"],
            random_state=job["seed"],
        )

    def fit(self, images):
        """Fit."""
        self.detector.fit(images)

    def scores(self, images):
        """Scores, high = normal."""
        return self.detector.score_samples(images)

    def maps(self, images):
        """Score maps."""
        return self.detector.score_maps(images)


class Theirs:
    """PatchcoreModel of anomalib."""

    def __init__(self, job):
        import anomalib.models.image.patchcore.torch_model  # noqa: F401 - no import is measured
        import torchvision.transforms.v2  # noqa: F401

        self.job = job

    def _build(self):
        import torch
        from anomalib.models.image.patchcore.torch_model import PatchcoreModel
        from safetensors.torch import load_file
        from torchvision.transforms.v2 import Compose, InterpolationMode, Normalize, Resize

        torch.manual_seed(self.job["seed"])
        np.random.seed(self.job["seed"])  # noqa: NPY002 - which anomalib draws by
        name = f"tf_efficientnet_{self.job['network']}"
        self.model = PatchcoreModel(layers=LAYERS, backbone=name, pre_trained=False)
        network = self.model.feature_extractor.feature_extractor
        weights = load_file(self.job["weights"])
        network.load_state_dict({name: weights[name] for name in network.state_dict()})
        self.transform = Compose(
            [
                Resize([self.job["image_size"]] * 2, InterpolationMode.BICUBIC, antialias=True),
                Normalize([lite0.PARAMETERS["mean"]] * 3, [lite0.PARAMETERS["std"]] * 3),
            ]
        )

    def _batches(self, images):
        import torch

        for start in range(0, len(images), BATCH_SIZE):
            batch = torch.from_numpy(images[start : start + BATCH_SIZE]).float().div_(255)
            yield self.transform(batch[:, None].expand(-1, 3, -1, -1))

    def fit(self, images):
        """Fit; as in skad, that builds the network."""
        self._build()
        self.model.train()
        for batch in self._batches(images):
            self.model(batch)
        self.model.subsample_embedding(self.job["share"])
        self.model.eval()

    def scores(self, images):
        """Scores, high = normal."""
        import torch

        with torch.inference_mode():
            found = [self.model(batch).pred_score for batch in self._batches(images)]
        return -torch.cat(found).numpy()

    def maps(self, images):
        """Score maps, as large as what the network sees."""
        import torch

        with torch.inference_mode():
            found = [self.model(batch).anomaly_map for batch in self._batches(images)]
        return -torch.cat(found).numpy()


SIDES = {"skad": Ours, "anomalib": Theirs}


def main(side, path):
    """Do a job, and print what was measured."""
    import torch

    with open(path) as file:
        job = json.load(file)
    torch.set_num_threads(job["threads"])
    with np.load(job["images"]) as images:
        train, test = images["train"], images["test"]
    made, found = SIDES[side](job), {}

    def score():
        found["scores"] = made.scores(test)

    fit_seconds, fit_memory = measured(lambda: made.fit(train))
    taken = seconds(score), seconds(lambda: made.maps(test))
    line = {"fit_seconds": fit_seconds, "fit_memory": fit_memory}
    line |= {"images_a_second": len(test) / taken[0], "maps_a_second": len(test) / taken[1]}
    print(json.dumps(line | {"scores": found["scores"].tolist()}))


if __name__ == "__main__":
    main(*sys.argv[1:])

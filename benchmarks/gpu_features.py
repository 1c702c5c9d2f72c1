"""Sections of ``benchmarks/gpu.py`` that train little: devices, extraction, agreement, faiss."""

import time

import numpy as np

from skad import DN2, MSC, PANDA, FeatureExtractor, KNNScorer, PatchCore

# Scores of two devices may differ by so much of their spread, float32 against float32: a card
# rounds products to fewer digits where torch lets it, and a coreset may choose another pixel.
SAME_SCORES = 0.02


def network_of(small, **others):
    """Parameters of the network that is measured, with random weights."""
    name, size = ("test_resnet", 32) if small else ("resnet50", 224)
    return {"backbone": name, "weights": None, "image_size": size, "resize": "whole"} | others


def pictures(n_images, size, seed=0):
    """Random pictures, uint8: coarse patches under noise, so that they differ."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 200, (n_images, 4, 4, 3), dtype=np.uint8)
    side = -(-size // 4)
    patches = coarse.repeat(side, 1).repeat(side, 2)[:, :size, :size]
    return patches + rng.integers(0, 56, (n_images, size, size, 3), dtype=np.uint8)


def synchronize(device):
    """Wait for what a device computes."""
    import torch

    if str(device).startswith("cuda"):
        torch.cuda.synchronize(device)


def seconds(task, device):
    """Seconds of one run, from an idle device to an idle device."""
    synchronize(device)
    start = time.perf_counter()
    task()
    synchronize(device)
    return time.perf_counter() - start


def paired(yardstick, ours, device, repeats):
    """Median seconds of both, in turn, after one turn that warms up."""
    turns = [[seconds(task, device) for task in (yardstick, ours)] for _ in range(repeats + 1)]
    return np.median(turns[1:], axis=0)


def devices(device, small):
    """A few estimators fitted and asked on the CPU and on the card."""
    train, test = pictures(60, 64), pictures(40, 64, seed=1)
    tiny = {} if not small else {"image_size": 32}
    figures = {}
    for name, detector in {
        "DN2": DN2(**tiny),
        "PatchCore": PatchCore(n_threshold_images=5, **tiny),
        "PANDA, 10 steps": PANDA(n_steps=10, **tiny),
        "MSC, 4 steps": MSC(n_steps=4, **tiny),
    }.items():
        here = detector.set_params(device="cpu").fit(train).score_samples(test)
        there = detector.set_params(device=device).fit(train).score_samples(test)
        figures[f"{name}: greatest difference of scores, in their spread"] = worst = (
            np.abs(here - there).max() / here.std()
        )
        if not worst <= SAME_SCORES:
            raise AssertionError(
                f"{name}: scores on {device} differ by {worst:.2g} of their spread"
            )
    return figures


def bare_loop(extractor, images, batch_size):
    """Bytes to the device, scaled and through the extractor's own network, features back."""
    import torch

    fitted = extractor.fitted_network_
    made, device = fitted.preprocessing, fitted.device
    mean, std = (
        torch.tensor(values, device=device)[:, None, None] for values in (made.mean, made.std)
    )
    with torch.inference_mode():
        for i in range(0, len(images), batch_size):
            x = torch.from_numpy(images[i : i + batch_size]).to(device)
            x = x.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)
            fitted.network(x.to(fitted.dtype, memory_format=torch.channels_last)).cpu()


def extraction(device, small):
    """Pictures a second, and their share of the bare loop's."""
    network = network_of(small, device=device)
    images = pictures(16 if small else 2048, network["image_size"])
    figures = {}
    for precision in ("float32", "bfloat16"):
        for batch_size in (4, 8) if small else (64, 256):
            extractor = FeatureExtractor(**network, precision=precision, batch_size=batch_size)
            extractor.fit(images[:8])
            bare, ours = paired(
                lambda e=extractor, b=batch_size: bare_loop(e, images, b),
                lambda e=extractor: e.transform(images),
                device,
                repeats=1 if small else 3,
            )
            what = f"{precision}, batches of {batch_size}"
            aim = {64: " (>= 0.92)", 256: " (>= 0.97)"}.get(batch_size, "")
            figures[f"{what}: pictures a second"] = len(images) / ours
            figures[f"{what}: share of the bare loop's{aim}"] = bare / ours
    return figures


def one_picture(device, small):
    """One picture alone, over its bare forward pass."""
    import torch

    network = network_of(small, device=device)
    size = network["image_size"]
    images, figures = pictures(20, size), {}
    for precision in ("float32", "bfloat16"):
        detector = DN2(**network, precision=precision).fit(images)
        extractor = detector.pipeline_["extractor"]
        fitted = extractor.fitted_network_
        x = torch.rand(1, 3, size, size, device=device, dtype=fitted.dtype)
        x = x.to(memory_format=torch.channels_last)

        def forward(network=fitted.network, x=x):
            with torch.inference_mode():
                network(x).cpu()

        for what, ours in (
            ("features / forward pass (<= 1.3)", extractor.transform),
            ("DN2 decision / forward pass", detector.decision_function),
        ):
            bare, took = paired(
                forward, lambda f=ours: f(images[:1]), device, repeats=3 if small else 50
            )
            figures[f"{precision}: {what}"] = took / bare
        figures[f"{precision}: DN2 decision, milliseconds"] = 1e3 * took
    return figures


def agreement(device, small):
    """Features and scores on the card, against float32 on the CPU."""
    network = network_of(small)
    n_images = 12 if small else 96
    images = pictures(n_images, network["image_size"])
    half = n_images // 2

    def found(**others):
        detector = DN2(**network, **others).fit(images[:half])
        features = detector.pipeline_["extractor"].transform(images)
        return features.astype(np.float64), detector.score_samples(images[half:])

    expected, scores = found(device="cpu")
    figures = {}
    for precision in ("float32", "bfloat16"):
        features, others = found(device=device, precision=precision)
        cosine = (features * expected).sum(1)
        cosine /= np.linalg.norm(features, axis=1) * np.linalg.norm(expected, axis=1)
        figures[f"{precision}: 1 - cosine of features, greatest"] = (1 - cosine).max()
        figures[f"{precision}: difference of scores, greatest, in their spread"] = (
            np.abs(others - scores).max() / scores.std()
        )
    return figures


def memory(device, small):
    """Memory of the device at its peak, in MiB."""
    import torch

    if not device.startswith("cuda"):
        return "the memory of a card is counted, and there is none"
    network = network_of(small, device=device)
    images, figures = pictures(32 if small else 1024, network["image_size"]), {}

    def peak(task):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        task()
        return torch.cuda.max_memory_allocated(device) / 2**20

    for precision in ("float32", "bfloat16"):
        for batch_size in (64, 256):
            extractor = FeatureExtractor(**network, precision=precision, batch_size=batch_size)
            what = f"extraction, {precision}, batches of {batch_size}, MiB"
            figures[what] = peak(lambda e=extractor: e.fit_transform(images))
    steps = 3 if small else 20
    figures["PANDA, MiB"] = peak(lambda: PANDA(**network, n_steps=steps).fit(images))
    figures["MSC, MiB"] = peak(lambda: MSC(**network, n_steps=steps).fit(images))
    cores = PatchCore(**network, n_threshold_images=5, coreset_share=0.001)
    figures["PatchCore, MiB"] = peak(lambda: cores.fit(images[:200]).score_maps(images[:32]))
    return figures


def faiss_on_card(device, small):
    """Exact search on the card, against faiss on the CPU: the same neighbours?"""
    import faiss

    if not device.startswith("cuda"):
        return "searches on a card, and there is none"
    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
        return "this faiss knows no card; pip install faiss-gpu-cu12 in the place of faiss-cpu"
    n_rows, n_queries = (2_000, 100) if small else (500_000, 5_000)
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(n_rows, 256)).astype(np.float32)
    queries = rng.normal(size=(n_queries, 256)).astype(np.float32)
    here = faiss.IndexFlatL2(256)
    here.add(gallery)
    there = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, here)
    on_cpu, on_card = paired(
        lambda: here.search(queries, 2), lambda: there.search(queries, 2), device, repeats=1
    )
    same = (here.search(queries, 2)[1] == there.search(queries, 2)[1]).mean()
    scorer = KNNScorer(metric="euclidean", index="exact").fit(gallery[:20_000])
    took = seconds(lambda: scorer.score_samples(queries), device)
    what = f"{n_queries} queries, {n_rows} x 256"
    return {
        f"{what}: share of neighbours that are the same": same,
        f"{what}: seconds on the CPU": on_cpu,
        f"{what}: seconds on the card": on_card,
        f"{what}: card / CPU": on_card / on_cpu,
        f"KNNScorer, {n_queries} queries, 20 000 x 256: seconds": took,
    }

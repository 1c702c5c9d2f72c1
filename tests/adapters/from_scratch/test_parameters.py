"""Parameters of trainings from scratch, and odd cases."""

from functools import partial

import numpy as np
import pytest
import timm
import torch
from sklearn.base import clone
from torch import nn

from skad import (
    NSA,
    KNNScorer,
    SelfSupervisedAdapter,
)
from skad.adapters._base import BaseAdapter
from skad.backbones import small_cnn, svdd_mnist
from skad.training import _run as _run
from skad.training._images import TrainingImages
from skad.training._loop import TrainingError
from skad.training._watch import CollapseWatch
from tests.adapters.from_scratch.common import (
    HEADS,
    KINDS,
    NET,
    Drawn,
    Keep,
    autoencoder,
    every,
    extractor,
    nsa,
    siamese,
)


@pytest.mark.parametrize(
    "widths",
    [
        *({"projector_widths": []}, {"projector_widths": [0]}, {"projector_widths": [8, -1]}),
        *({"projector_widths": [8.5]}, {"predictor_widths": [0]}),
    ],
    ids=str,
)
def test_widths_of_heads_that_are_none(widths, zeros):
    message = "SelfSupervisedAdapter: pr.*_widths (must be a list of positive|is empty)"
    for estimator in (siamese(**widths), nsa(**widths)):
        with pytest.raises(ValueError, match=message):
            estimator.fit(zeros)
        assert not hasattr(estimator, "extractor_")


@pytest.mark.parametrize(
    ("objective", "parameters", "expected"),
    [
        ("simsiam", {}, [[32, 16, 16], [16, 8, 16]]),
        ("byol", {}, [[32, 16, 16], [16, 8, 16]]),
        ("simclr", {"projector_widths": np.array([8])}, [[32, 8]]),
        ("simsiam", {"projector_widths": [5, 6, 7]}, [[32, 5, 6, 7], [7, 8, 7]]),
        (
            "simsiam",
            {"projector_widths": None, "predictor_widths": None},
            [
                [32, 2048, 2048, 2048],
                [2048, 512, 512, 2048],
            ],
        ),
        ("simclr", {"projector_widths": None}, [[32, 512, 128]]),
    ],
)
def test_heads_are_as_wide_as_asked(objective, parameters, expected, zeros, watched):
    runs = []
    watched(SelfSupervisedAdapter, then=lambda run, _: runs.append(run))
    siamese(objective, n_steps=1, **parameters).fit(zeros)
    found = []
    heads = list(runs[-1].task.children())[1:]  # behind the network
    for head in heads[: len(expected)]:
        linear = [module for module in head.modules() if isinstance(module, nn.Linear)]
        found.append([linear[0].in_features, *(module.out_features for module in linear)])
    assert found == expected
    assert len(heads) == len(expected) + (objective == "byol")


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        *(("simsiam", {"n_epochs": 0}), ("simsiam", {"n_steps": 0}), ("simsiam", {"layers": 3})),
        *(("simsiam", {"objective": "msc"}), ("simsiam", {"negatives": "flip"})),
        *(("simsiam", {"temperature": 0}), ("simsiam", {"target_momentum": 1.0})),
        *(("simsiam", {"monitor": 3}), ("simsiam", {"collapse_limit": 1.0})),
        *(("autoencoder", {"n_epochs": 0}), ("autoencoder", {"decay_at": 1.1})),
        *(("autoencoder", {"decoder": 3}), ("autoencoder", {"memory_limit": -1})),
        *(("svdd", {"nu": 0}), ("svdd", {"warm_up_epochs": -1}), ("svdd", {"objective": "soft"})),
        *(("rotation", {"n_epochs": 0}), ("rotation", {"output": "logits"})),
        *(("rotation", {"learning_rate": 0}), ("rotation", {"extractor": 3})),
    ],
    ids=str,
)
def test_parameters_out_of_range(kind, parameters, zeros):
    adapter = KINDS[kind](**parameters)
    (name,) = parameters
    message = f"The '{name}' parameter of {type(adapter).__name__}"
    with pytest.raises(ValueError, match=message):
        adapter.fit(zeros)


def test_epochs_are_counted_in_batches(zeros):
    for kind, make in KINDS.items():
        adapter = make(n_steps=None, n_epochs=2, batch_size=7, collapse_limit=0.0)
        assert adapter.fit(zeros).stopped_at_ == 6, kind
    turned = siamese(
        "simclr", negatives="rotation", n_steps=None, n_epochs=2, batch_size=20, collapse_limit=0
    )
    assert turned.fit(zeros).stopped_at_ == 8


@every
def test_training_that_is_not_finite_is_one_clear_error(kind, zeros, others, tmp_path):
    adapter = KINDS[kind](n_steps=12, collapse_limit=0.0, checkpoint=tmp_path)
    adapter.set_params(learning_rate=1e25)
    unfitted = dict(vars(adapter))
    message = f"{type(adapter).__name__}: the .* at step [0-9]+\\b.*learning_rate"
    with pytest.raises(ArithmeticError, match=message) as caught:
        adapter.fit(zeros)
    assert isinstance(caught.value, TrainingError)
    assert vars(adapter) == unfitted
    assert not list(tmp_path.iterdir()), "it would end in the same way"
    good = KINDS[kind]().fit(zeros)
    before = good.transform(others)
    with pytest.raises(ArithmeticError):
        good.set_params(learning_rate=1e25, n_steps=12).fit(zeros)
    np.testing.assert_array_equal(good.transform(others), before)


def test_every_adapter_here_is_one_from_scratch():
    for make in KINDS.values():
        assert isinstance(make(), BaseAdapter)
        plan = make()._plan(20, None)
        assert plan.from_scratch
        assert plan.trainable == "all"


@pytest.mark.parametrize("name", ["layers", "flattened_layers"])
def test_no_layers_are_no_projection(name, zeros):
    with pytest.raises(ValueError, match="empty"):
        siamese(**{name: []}).fit(zeros)


@pytest.mark.parametrize("name", ["layer9", "projector.2"])
def test_a_wrong_layer_is_told_before_training(name, zeros, watched):
    steps = watched(SelfSupervisedAdapter)
    with pytest.raises(ValueError, match=f"no layer '(encoder.)?{name}'"):
        siamese(layers=[name]).fit(zeros)
    assert not steps


@pytest.mark.parametrize("objective", ["simsiam", "byol"])
def test_a_predictor_may_be_one_linear_map(objective, zeros):
    """Or an error may say that it must not be empty."""
    try:
        adapter = siamese(objective, predictor_widths=[]).fit(zeros)
    except ValueError as error:
        assert "predictor_widths" in str(error)  # noqa: PT017
    else:
        assert adapter.stopped_at_ == 4


def test_names_of_layers_come_in_arrays(zeros):
    names = np.array(["layer1", "layer2"])
    assert extractor(layers=names).fit(zeros).tap_widths_ == [4, 8]
    assert siamese(layers=names).fit(zeros).tap_widths_ == [4, 8]


def test_layers_of_tokens_are_tapped_behind_a_head():
    backbone = partial(timm.create_model, "test_vit")
    images = np.random.RandomState(0).rand(2, 160, 160, 3)
    settings = {"layers": ["blocks.0"], "n_steps": 1, "collapse_limit": 0}
    adapter = siamese(extractor=extractor(backbone), **settings).fit(images)
    assert adapter.transform(images).shape == (2, 64)


def test_a_cache_does_not_hide_the_training_from_a_monitor(zeros, tmp_path):
    def monitor(made):
        return {"sum": float(made.transform(zeros).sum())}

    expected = siamese(monitor=monitor).fit(zeros).training_curve_["sum"]
    found = siamese(extractor=extractor(memory=tmp_path), monitor=monitor).fit(zeros)
    np.testing.assert_array_equal(found.training_curve_["sum"], expected)


def test_monitors_may_give_numbers_of_numpy(zeros, watched, tmp_path):
    def monitor(made):
        return {"one": np.float64(1.0), "two": np.int64(2), "three": torch.tensor(3.0)}

    steps = watched(SelfSupervisedAdapter, break_at=3)
    adapter = siamese(monitor=monitor, checkpoint=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(zeros)
    steps.clear()
    adapter.fit(zeros)
    assert steps == [3, 4]
    np.testing.assert_array_equal(adapter.training_curve_["two"], [2] * 5)


@pytest.mark.parametrize("kind", ["augmentation", "decoder"])
def test_a_callable_is_the_same_in_another_process(kind, zeros, watched, tmp_path):
    """There it has another address, as a copy has it here."""
    if kind == "augmentation":
        adapter, given = siamese(checkpoint=tmp_path), Keep()
    else:
        adapter, given = autoencoder(checkpoint=tmp_path), MakesDrawn()
    steps = watched(type(adapter), break_at=3)
    adapter.set_params(**{kind: given})
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(zeros)
    steps.clear()
    adapter.set_params(**{kind: type(given)()}).fit(zeros)
    assert steps == [3, 4]


class MakesDrawn:
    def __call__(self):
        return Drawn()


def test_stacked_adapters_train_all_of_both(zeros):
    inner = siamese(layers=["projector.1"], collapse_limit=0.0)
    before = clone(inner).fit(zeros).network_.named_parameters()
    after = siamese(extractor=inner, collapse_limit=0.0).fit(zeros).network_.named_parameters()
    assert not [name for (name, one), (_, other) in zip(before, after) if torch.equal(one, other)]


def test_a_layer_before_an_activation_is_not_changed_by_it(zeros):
    """ReLU in place overwrites what was tapped, if the network goes on to another tap."""
    alone = extractor(layers=["layer1.1"]).fit_transform(zeros)
    with_another = extractor(layers=["layer1.1", "layer2"]).fit_transform(zeros)
    np.testing.assert_array_equal(with_another[:, :4], alone)


def test_bfloat16_does_not_round_images_for_networks_with_classifiers(zeros):
    backbone = partial(timm.create_model, "test_resnet", num_classes=7)
    made = extractor(backbone, image_size=32, precision="bfloat16")
    adapter = siamese(extractor=made, n_steps=1).fit(zeros)
    found = adapter.transform(zeros)
    adapter.extractor_.fitted_network_.dtype = torch.float32
    np.testing.assert_allclose(adapter.transform(zeros), found, rtol=1e-5, atol=1e-6)


def test_stages_are_modules_that_images_pass(zeros):
    """The largest part is the code here, so the list of convolutions stays one stage."""
    made = extractor(partial(svdd_mnist, image_size=8, code_dim=128))
    assert siamese(extractor=made, layers="stages").fit(zeros).stopped_at_ == 4


def broken_at(step, adapter, images, watched):
    """Steps of the fit after one that was broken off."""
    steps = watched(type(adapter), break_at=step)
    with pytest.raises(KeyboardInterrupt):
        adapter.fit(images)
    steps.clear()
    return steps


def test_what_a_factory_says_of_images_decides_a_training(zeros, watched, tmp_path):
    """The weights are the same whatever the size; a state of smaller images must not go on."""
    smaller, larger = (extractor(partial(small_cnn, width=4, image_size=s)) for s in (8, 12))
    adapter = siamese(extractor=smaller, checkpoint=tmp_path)
    steps = broken_at(3, adapter, zeros, watched)
    adapter.set_params(extractor=larger).fit(zeros)
    assert steps == [1, 2, 3, 4]


@pytest.mark.parametrize("first", [True, False])
def test_a_monitor_may_come_or_go_before_a_fit_goes_on(first, zeros, watched, tmp_path):
    def monitor(_):
        return {"one": 1.0}

    adapter = siamese(monitor=monitor if first else None, checkpoint=tmp_path)
    steps = broken_at(3, adapter, zeros, watched)
    adapter.set_params(monitor=None if first else monitor).fit(zeros)
    assert steps == [3, 4] or steps == [4]
    found = adapter.training_curve_["one"]
    assert np.isnan(found[-1]) == first
    assert np.isnan(found[0]) != first


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"spread": 1.0}, ValueError, "monitor gives measures .* 'spread'; choose others"),
        (None, TypeError, "monitor must return a dict of numbers by name; got None"),
    ],
)
def test_what_a_monitor_gives_is_checked(given, error, message, zeros):
    with pytest.raises(error, match=message):
        siamese(monitor=lambda _: given).fit(zeros)


def test_collapse_before_the_second_look_is_seen():
    spreads = iter([0.1, 0.0])
    axes = np.eye(4)

    def features_of():
        spread = next(spreads)
        return axes[0] + np.sqrt(spread) * axes[1:3]

    watch = CollapseWatch(
        features_of,
        axes[0],
        spread_limit=0.25,
        from_widest=True,
        every=10,
        monitor=dict,
        owner="test",
    )
    watch.look(0)
    watch.look(10)
    assert watch.collapsed_at == 10


class Spread:
    """Views in a range or of a size that are not theirs."""

    def __init__(self, factor, size):
        self.factor, self.size = factor, size

    def __call__(self, batch, generator):
        images = torch.nn.functional.interpolate(batch.float(), (self.size, self.size))
        return images.div(images.max()).mul(self.factor)


@pytest.mark.parametrize(("factor", "size"), [(255, 8), (1, 7)])
def test_views_are_checked(factor, size, zeros):
    with pytest.raises(
        ValueError, match=r"augmentation must give one view .* 8, 8\), .* in \[0, 1"
    ):
        siamese(augmentation=Spread(factor, size)).fit(zeros)


def test_views_are_not_rounded_in_mixed_precision(zeros, monkeypatch):
    seen = []
    plain = TrainingImages.view_images

    def view_images(self, *arguments):
        images = plain(self, *arguments)
        seen.append(images.clone())
        return images

    monkeypatch.setattr(TrainingImages, "view_images", view_images)
    for precision in ("float32", "bfloat16"):
        siamese(extractor=extractor(precision=precision), n_steps=1).fit(zeros)
    assert torch.equal(*seen)


def test_a_failed_scorer_tells_of_the_training_that_is_kept(zeros, tmp_path, monkeypatch):
    detector = NSA(NET, n_steps=2, checkpoint=tmp_path, **HEADS)

    def fail(self, X, y=None):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(KNNScorer, "fit", fail)
        with pytest.raises(MemoryError) as caught:
            detector.fit(zeros)
    assert str(tmp_path) in caught.value.__notes__[0]
    detector.fit(zeros)
    assert not list(tmp_path.iterdir())


def test_the_stem_is_no_block(zeros):
    made = extractor("test_resnet", image_size=32)
    adapter = siamese(extractor=made, layers="stages", n_steps=1).fit(zeros[:4])
    names = [name.rpartition("_")[0] for name in adapter.get_feature_names_out()]
    layers = [f"layer{i}" for i in range(1, 5)]
    assert list(dict.fromkeys(names)) == [*layers, *(f"{name}_flat" for name in layers[1:])]
    assert list(siamese(layers=["layer1"]).fit(zeros).feature_maps(zeros)) == ["layer1"]

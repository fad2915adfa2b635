import dataclasses
import functools
import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.data.batches import Batches
from components.data.image_store import ImageStore, InMemoryImages, open_store
from components.data.prepared_dataset import PreparedDataset
from components.model import objective as objectives
from components.model import principal_components
from components.model.architecture import Architecture
from components.model.corruption import Corruption, parse_corruption
from components.model.objective import Objective
from components.model.pixels import to_unit
from components.model.registry import HEADS, LIKELIHOODS, MIN_WIDTHS, NETWORKS, PRIORS
from components.model.vae import VAE
from components.sources import registry
from pipeline.prepare.stage import prepare
from tests.conftest import tiny_prepare_config
from trainer.choices import OBJECTIVES, OPTIMIZERS
from trainer.config import load_config
from trainer.devices import precision, strategy
from trainer.optimization import optimizer
from trainer.optimization.loop import Loop, StepConfig
from trainer.optimization.muon import Muon
from trainer.optimization.schedules import ConstantRate, LinearBeta
from trainer.optimization.update import Update

SHAPE = (8, 8, 1)
WIDTHS = {"mlp": (16,), "conv": (4, 16)}
# Color gradients of random slopes: images with something to learn.
SLOPES = np.random.default_rng(0).random((103, 2))
IMAGES = np.einsum("nk,khw->nhw", SLOPES, np.mgrid[0:8, 0:8] * 18)[..., np.newaxis].astype(np.uint8)
# Every feature of a step at once.
EVERYTHING = {
    "rule": optimizer.WeightDecay(optimizer.Adam(), 0.1),
    "clip_norm": 5.0,
    "ema_decay": 0.9,
    "warmup_steps": 10,
    "beta": LinearBeta(beta=1.0, total_steps=40, warmup_steps=20),
    "free_bits": 0.01,
    "accumulate": 2,
}


@dataclasses.dataclass(frozen=True)
class Descent:
    """Plain gradient descent."""

    def num_slots(self, shape):
        return 0

    def update(self, parameter, gradient, slots, rate, step):
        return parameter - rate * gradient, slots


def make(
    *,
    replicas: int = 1,
    network: str = "mlp",
    latents: int = 2,
    images: np.ndarray = IMAGES,
    batch_size: int = 10,
    steps_per_call: int = 8,
    dtype: str = "float32",
    compiled: bool = False,
    rate: float = 1e-3,
    rule: optimizer.Optimizer = optimizer.RMSprop(),  # noqa: B008 - frozen
    widths: tuple[int, ...] | None = None,
    parts: Mapping[str, Any] = MappingProxyType({}),
    store: ImageStore | None = None,
    labels: np.ndarray | None = None,
    warmup_steps: int = 0,
    clip_norm: float = 0.0,
    ema_decay: float = 0.0,
    loss_scale: precision.LossScale | None = None,
    objective: Objective = objectives.Elbo(),  # noqa: B008 - frozen
    beta=1.0,
    free_bits: float = 0.0,
    accumulate: int = 1,
    corruption: Corruption | None = None,
) -> Loop:
    keras.utils.set_random_seed(0)
    mirrored = strategy.create(replicas)
    store = store or InMemoryImages(images)
    batches = Batches(store, batch_size=batch_size, seed=0, labels=labels)
    with mirrored.scope():
        model = VAE(
            image_shape=batches.image_shape,
            network=network,
            latents=latents,
            widths=widths or WIDTHS[network],
            compute_dtype=dtype,
            **parts,
        )
    learning_rate = ConstantRate(peak=rate, total_steps=1000, warmup_steps=warmup_steps)
    step_config = StepConfig(
        update=Update(rule, learning_rate, clip_norm, ema_decay, loss_scale),
        objective=objective,
        beta=beta if callable(beta) else lambda step: tf.constant(beta, tf.float32),
        free_bits=free_bits,
        corruption=corruption,
        accumulate=accumulate,
        steps_per_call=steps_per_call,
        compiled=compiled,
    )
    return Loop(strategy=mirrored, model=model, batches=batches, step_config=step_config)


def train(loop: Loop, steps: int) -> np.ndarray:
    """Runs any number of steps; rate and distortion of each, shape [steps, 2]."""
    sums = []
    while steps:
        num_steps = min(steps, loop.step_config.steps_per_call)
        sums.append(loop.run(num_steps))
        steps -= num_steps
    return np.concatenate(sums)


def assert_equal(one: Loop, other: Loop, **tolerance) -> None:
    """Compares the states of two loops: bit for bit, unless a tolerance is given."""
    actual, expected = one.state_arrays(), other.state_arrays()
    assert list(actual) == list(expected)
    for name, array in actual.items():
        equal = np.testing.assert_allclose if tolerance else np.testing.assert_array_equal
        equal(array, expected[name], err_msg=name, **tolerance)


def gradients_by_definition(
    loop: Loop, step: int, *, beta: float, examples: np.ndarray = IMAGES
) -> tuple[list[tf.Tensor], tuple[float, float]]:
    """Gradients by the definition of the loss, and the batch's sums of rate and distortion."""
    model = loop._model
    x = to_unit(examples[loop._batches.rows(step)])
    noise = loop._draws(tf.constant(step, tf.int64))["noise"][: len(x)]
    with tf.GradientTape() as tape:
        rates, distortion = model.rates_and_distortion(x, noise)
        rate = tf.reduce_sum(rates, axis=-1)
        loss = tf.reduce_mean(distortion + beta * rate)
    gradients = tape.gradient(loss, model.trainable_variables)
    return gradients, (rate.numpy().sum(), distortion.numpy().sum())


def test_the_loss_falls():
    epochs = train(make(rate=1e-2), 88).reshape(8, 11, 2).sum(axis=(1, 2))
    assert epochs[-1] < 0.9 * epochs[0]


@pytest.mark.parametrize(
    ("network", "compiled"),
    # The compiled mlp has its own test, at full size.
    [("mlp", False), ("conv", False), pytest.param("conv", True, marks=pytest.mark.slow)],
)
def test_one_and_two_replicas_agree_over_100_steps(network, compiled):
    # 103 examples in batches of 10: the last batch of an epoch has 3 and leaves the second replica
    # without examples.
    one, two = (make(replicas=n, network=network, compiled=compiled) for n in (1, 2))
    np.testing.assert_allclose(train(one, 100), train(two, 100), rtol=1e-4)
    assert_equal(one, two, rtol=1e-3, atol=1e-4)


DIGITS = str.maketrans("0123456789", "k" * 10)
# Models in which every part occurs, each with an objective and whether XLA compiles the steps.
PARTS = {
    "first": ({"network": "mlp"}, objectives.Elbo(), True),
    "causal, flow": (
        {"network": "mlp", "head": "causal", "prior": "real_nvp", "likelihood": "binarized"},
        objectives.Elbo(path_derivative=True),
        False,
    ),
    "256 levels, flow": (
        {"network": "mlp", "prior": "real_nvp", "likelihood": "logistic_mixture"},
        objectives.ImportanceWeighted(3),
        True,
    ),
    "one scale": (
        {"network": "keras_conv", "likelihood": "gaussian"},
        objectives.ImportanceWeighted(2),
        False,
    ),
    "linear path": (
        {"network": "conv", "likelihood": "gaussian", "linear_path": "principal_components"},
        objectives.Elbo(path_derivative=True),
        False,
    ),
    "hierarchy": (
        {"network": "residual", "levels": 2, "likelihood": "binarized"},
        objectives.Elbo(),
        False,
    ),
    "corrupted": (
        {"network": "mlp", "likelihood": "binarized", "corruption": "gaussian:0.1-0.5,mask:0.5"},
        objectives.ImportanceWeighted(2),
        True,
    ),
    "known noise": (
        {
            "network": "residual",
            "levels": 2,
            "likelihood": "gaussian",
            "noise_model": "gaussian:0.2",
            "corruption": "salt_pepper:0.2",
        },
        objectives.Elbo(),
        False,
    ),
    "conditional": (
        {"network": "mlp", "classes": 10, "likelihood": "binarized"},
        objectives.ImportanceWeighted(2),
        True,
    ),
}


def test_every_part_is_in_some_model():
    defaults = {field.name: field.default for field in dataclasses.fields(Architecture)}
    models = [defaults | fields for fields, _, _ in PARTS.values()]
    registries = {"network": NETWORKS, "head": HEADS, "prior": PRIORS, "likelihood": LIKELIHOODS}
    for part, names in registries.items():
        assert {model[part] for model in models} == set(names)
    kinds = {given.description.translate(DIGITS) for _, given, _ in PARTS.values()}
    assert kinds == {build(2).description.translate(DIGITS) for build in OBJECTIVES.values()}


@pytest.fixture(scope="module")
def small_images(tmp_path_factory) -> PreparedDataset:
    """A prepared dataset of images of 8 x 8 pixels."""
    directory = tmp_path_factory.mktemp("small") / "examples"
    prepare(tiny_prepare_config(synthetic_size=130, image_size="8"), output=directory)
    return PreparedDataset.open(directory)


@pytest.mark.parametrize("name", PARTS)
def test_every_part_is_exact(name, small_images):
    """Replicas agree, a run goes on after a restart, and streamed images are those in memory."""
    fields, objective, compiled = PARTS[name]
    fields = dict(fields)
    network = fields.pop("network")
    corruption = parse_corruption(fields.pop("corruption", "none"))

    def loop(*, replicas: int = 1, cache_bytes: int | None = None) -> Loop:
        made = make(
            replicas=replicas,
            network=network,
            widths=(4,) * (1 + MIN_WIDTHS[network]),
            parts={"feature_channels": 4, "activation": "silu", **fields},
            store=open_store(small_images, "train", cache_bytes=cache_bytes),
            labels=small_images.labels("train") if "classes" in fields else None,
            batch_size=9,
            steps_per_call=3,
            objective=objective,
            corruption=corruption,
            # With plain descent, an error of rounding is not amplified, unless a step is too long:
            # beside its principal components, a model has a small scale and large gradients.
            rule=Descent(),
            rate=1e-4 if "linear_path" in fields else 1e-3,
            compiled=compiled,
        )
        if "linear_path" in fields:
            images = small_images.images("train")
            made._model.set_principal_components(principal_components.of_images(images, 2))
        return made

    one = loop()
    before = train(one, 3)
    saved = one.state_arrays()
    after = train(one, 3)
    assert (before[:, 0] > 0).any()
    assert np.isfinite(after).all()
    changed = [name for name, array in one.state_arrays().items() if (array != saved[name]).any()]
    # Every weight is trained: none is out of the objective's reach.
    assert {f"weights/{index:04d}" for index in range(len(one.state.weights))} <= set(changed)
    streamed = loop(cache_bytes=0)
    streamed.restore(saved)
    np.testing.assert_array_equal(train(streamed, 3), after)
    assert_equal(streamed, one)
    two = loop(replicas=2)
    sums = np.concatenate([before, after])
    # Rates may be near 0 and are then differences of large numbers.
    losses = np.abs(sums.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(train(two, 6) / losses, sums / losses, rtol=0, atol=1e-5)
    assert_equal(two, one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("replicas", "accumulate"), [(1, 1), (2, 2)])
def test_every_example_is_given_its_own_label(replicas, accumulate):
    """The label alone decides the image: the latents stay without use."""
    labels = np.random.default_rng(0).integers(0, 4, 103).astype(np.int32)
    patterns = 255 * (np.arange(64) // 16 == np.arange(4)[:, np.newaxis])
    loop = make(
        replicas=replicas,
        images=patterns[labels].reshape(-1, 8, 8, 1).astype(np.uint8),
        labels=labels,
        parts={"classes": 4},
        accumulate=accumulate,
        rule=optimizer.Adam(),
        rate=2e-2,
    )
    rate, distortion = train(loop, 440)[-11:].sum(axis=0) / 103
    # Without the label, the two cost log 4 = 1.39 nats together at least.
    assert rate < 0.05
    assert distortion < 0.3
    z = loop._model.sample_prior(tf.zeros((4, 2)), tf.range(4))
    means = loop._model.likelihood(z, tf.range(4)).mean()
    np.testing.assert_array_equal(np.round(means).reshape(4, 64), patterns / 255)


def test_one_and_two_replicas_agree_with_muon():
    one, two = (make(replicas=n, network="conv", rule=Muon()) for n in (1, 2))
    np.testing.assert_allclose(train(one, 20), train(two, 20), rtol=1e-5)
    assert_equal(one, two, rtol=1e-3, atol=1e-4)


def test_an_odd_batch_size_can_be_split_over_two_replicas():
    one, two = (make(replicas=n, batch_size=7) for n in (1, 2))
    np.testing.assert_allclose(train(one, 30), train(two, 30), rtol=1e-4)


@functools.cache
def without_accumulation(batch_size: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Seven steps on one replica without gradient accumulation: sums and state."""
    loop = make(images=IMAGES[:23], batch_size=batch_size, rule=Descent())
    return train(loop, 7), loop.state_arrays()


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize(
    ("accumulate", "batch_size", "compiled"),
    # The last batch of 23 examples has 3 or 2 examples, so most of its micro-batches are empty.
    [(2, 10, True), (3, 10, False), (1, 7, False), (2, 7, False), (3, 7, False)],
)
def test_gradient_accumulation_changes_only_the_order_of_summation(
    replicas, accumulate, batch_size, compiled
):
    sums, state = without_accumulation(batch_size)
    loop = make(
        replicas=replicas,
        images=IMAGES[:23],
        batch_size=batch_size,
        accumulate=accumulate,
        rule=Descent(),
        compiled=compiled,
    )
    np.testing.assert_allclose(train(loop, 7), sums, rtol=1e-5)
    for name, array in loop.state_arrays().items():
        np.testing.assert_allclose(array, state[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("replicas", "compiled", "rule"),
    [
        (1, True, optimizer.Adam()),
        (2, False, optimizer.Adam()),
        pytest.param(2, True, optimizer.Adam(), marks=pytest.mark.slow),
        (1, False, Muon()),
        (2, False, Muon()),
        pytest.param(1, True, Muon(), marks=pytest.mark.slow),
    ],
)
def test_the_result_depends_neither_on_the_steps_per_call_nor_on_a_restart(
    replicas, compiled, rule
):
    settings = EVERYTHING | {"rule": optimizer.WeightDecay(rule, 0.1)}
    one, other = (
        make(replicas=replicas, compiled=compiled, steps_per_call=steps, **settings)
        for steps in (8, 3)
    )
    before = train(one, 17)
    saved = one.state_arrays()
    assert int(saved["step"]) == int(saved["updates"]) == 17
    after = train(one, 8)
    np.testing.assert_array_equal(train(other, 25), np.concatenate([before, after]))
    assert_equal(one, other)
    other.restore(saved)
    np.testing.assert_array_equal(train(other, 8), after)
    assert_equal(one, other)


def test_a_step_follows_the_definitions_of_loss_and_update():
    loop = make(rate=1e-2, beta=0.5, compiled=True)
    before = loop._model.get_weights()
    gradients, expected_sums = gradients_by_definition(loop, 0, beta=0.5)
    sums = loop.run(1)
    np.testing.assert_allclose(sums[0], expected_sums, rtol=1e-5)
    for old, gradient, new in zip(before, gradients, loop._model.get_weights(), strict=True):
        expected = old - 1e-2 * gradient / np.sqrt(0.1 * gradient**2 + 1e-7)
        np.testing.assert_allclose(new, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("replicas", [1, 2])
def test_every_step_has_its_own_beta(replicas):
    loop = make(
        replicas=replicas, rule=Descent(), beta=lambda step: 3.0 * tf.cast(step, tf.float32)
    )
    for step in range(3):
        before = loop._model.get_weights()
        gradients, _ = gradients_by_definition(loop, step, beta=3.0 * step)
        loop.run(1)
        for old, gradient, new in zip(before, gradients, loop._model.get_weights(), strict=True):
            np.testing.assert_allclose(new, old - 1e-3 * gradient, rtol=1e-5, atol=1e-6)


def test_a_rate_below_the_free_bits_is_measured_but_not_trained():
    free_bits, no_beta = make(free_bits=1e3), make(beta=0.0)
    np.testing.assert_allclose(train(free_bits, 8), train(no_beta, 8), rtol=1e-5)
    assert_equal(free_bits, no_beta, rtol=1e-5, atol=1e-6)


def test_a_partial_batch_is_averaged_over_its_own_examples():
    """It has the gradients of a full batch of the same examples."""
    loop = make(images=IMAGES[:3], batch_size=10)
    gradients, _ = gradients_by_definition(loop, 0, beta=1.0, examples=IMAGES[:3])
    loop.run(1)
    for slots, gradient in zip(loop.state.slots, gradients, strict=True):
        np.testing.assert_allclose(slots[0].numpy(), 0.1 * gradient**2, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("replicas", [1, 2])
def test_clipping_acts_on_the_summed_gradients(replicas):
    loop = make(replicas=replicas, clip_norm=1e-3, rule=optimizer.Adam())
    loop.run(1)
    # After one step, Adam's first moment is a tenth of the gradient.
    moments = [slots[0].numpy().ravel() * 10 for slots in loop.state.slots]
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(moments)), 1e-3, rtol=1e-4)


def test_the_averages_are_those_of_the_weights():
    loop = make(ema_decay=0.3)
    averages = loop._model.get_weights()
    for step in range(5):
        loop.run(1)
        decay = min(0.3, (1 + step) / (10 + step))
        weights = loop._model.get_weights()
        averages = [decay * a + (1 - decay) * w for a, w in zip(averages, weights, strict=True)]
    for ours, expected in zip(loop.state.averages, averages, strict=True):
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-5, atol=1e-7)


def float16(**kwargs) -> Loop:
    loss_scale = precision.LossScale(initial=2.0**10, growth_steps=4)
    return make(dtype="mixed_float16", loss_scale=loss_scale, **kwargs)


@pytest.mark.parametrize("replicas", [1, 2])
def test_float16_trains_and_its_scale_grows(replicas):
    loop = float16(replicas=replicas)
    assert np.isfinite(train(loop, 8)).all()
    assert loop.state.loss_scale.numpy() == 2.0**12


@pytest.mark.parametrize(("replicas", "accumulate"), [(1, 1), (2, 2)])
def test_an_overflow_on_one_replica_skips_the_step_on_all(replicas, accumulate):
    settings = EVERYTHING | {"accumulate": accumulate}
    loop = float16(replicas=replicas, **settings)
    original = loop._gradients

    def overflowing(state, pixels, count, replica):
        gradients, sums = original(state, pixels, count, replica)
        overflows = (replica == replicas - 1) & (state.step == 2)
        # Only the gradient of the last weight overflows.
        return [*gradients[:-1], tf.where(overflows, np.inf, gradients[-1])], sums

    loop._gradients = overflowing
    loop._call = loop._build()
    loop.run(2)
    before = loop.state_arrays()
    loop.run(1)
    after = loop.state_arrays()
    skipped = {"step": 3, "loss_scale": 2.0**9, "good_steps": 0}
    for name, array in after.items():
        np.testing.assert_array_equal(array, skipped.get(name, before[name]), err_msg=name)
    assert after["updates"] == 2
    # The run continues like one that has not seen the examples of the skipped step.
    other = float16(replicas=replicas, **settings)
    other.restore(before | {name: np.array(value) for name, value in skipped.items()})
    loop.run(3)
    other.run(3)
    assert_equal(loop, other)
    assert loop.state.updates.numpy() == 5


def test_bfloat16_is_close_to_float32():
    full, mixed = make(), make(dtype="mixed_bfloat16")
    np.testing.assert_allclose(train(full, 20).sum(1), train(mixed, 20).sum(1), rtol=0.02)


def preset_loop(preset: str, replicas: int, images: np.ndarray) -> Loop:
    """A preset with its own sizes, batch size and learning rate."""
    config = load_config(preset)
    return make(
        replicas=replicas,
        network=config.network,
        images=images,
        batch_size=config.batch_size,
        widths=config.widths,
        latents=config.latents,
        rate=config.learning_rate,
        rule=OPTIMIZERS[config.optimizer](),
        warmup_steps=config.warmup_steps,
        steps_per_call=50,
        compiled=not NETWORKS[config.network].is_convolutional,
    )


def test_the_mlp_preset_agrees_on_one_and_two_replicas(example_set):
    """To 1e-4 over 100 steps, as the project promises."""
    images = example_set.images("train")
    assert 0 < len(images) % 100 <= 50  # The last batch leaves the second replica without examples.
    one, two = (preset_loop("mlp", replicas, images) for replicas in (1, 2))
    np.testing.assert_allclose(train(one, 100), train(two, 100), rtol=1e-4)
    assert_equal(one, two, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["mlp", "conv"])
def test_the_presets_agree_on_one_and_two_replicas_on_fashion_mnist(preset, fashion_mnist_data_dir):
    source, _ = registry.open_source(
        registry.SourceRequest("fashion_mnist", data_dir=fashion_mnist_data_dir)
    )
    train_slice = next(part for part in source.slices() if part.split == "train")
    batches = itertools.islice(source.read(train_slice), 2)
    images = np.concatenate([batch.images for batch in batches])
    one, two = (train(preset_loop(preset, n, images), 100).sum(axis=1) for n in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-4)

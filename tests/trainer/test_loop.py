import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from components import sources
from components.batches import Batches
from components.networks import is_convolutional
from components.vae import VAE, to_unit
from trainer import precision, strategy
from trainer.config import load_config
from trainer.loop import Loop
from trainer.optimizer import OPTIMIZERS
from trainer.schedules import schedule

SHAPE = (8, 8, 1)
WIDTHS = {"mlp": (16,), "conv": (4, 16)}
# Gradients of random steepness: images with something to learn.
SLOPES = np.random.default_rng(0).random((103, 2))
IMAGES = np.einsum("nk,khw->nhw", SLOPES, np.mgrid[0:8, 0:8] * 18)[..., np.newaxis].astype(np.uint8)


@functools.cache
def strategy_of(replicas: int) -> tf.distribute.Strategy:
    # One a process: two would number their collective operations alike.
    return strategy.create(replicas)


def make(
    *,
    replicas: int = 1,
    network: str = "mlp",
    latents: int = 2,
    images: np.ndarray = IMAGES,
    batch_size: int = 10,
    steps_per_call: int = 8,
    dtype: str = "float32",
    compiled: bool = True,
    rate: float = 1e-3,
    optimizer: str = "rmsprop",
    widths: tuple[int, ...] | None = None,
    warmup_steps: int = 0,
    **kwargs,
) -> Loop:
    settings = {"beta": 1.0, "clip_norm": 0.0, "seed": 0, "loss_scale": None} | kwargs
    keras.utils.set_random_seed(0)
    mirrored = strategy_of(replicas)
    with mirrored.scope():
        model = VAE(
            image_shape=images.shape[1:],
            network=network,
            latents=latents,
            widths=widths or WIDTHS[network],
            compute_dtype=dtype,
        )
    return Loop(
        strategy=mirrored,
        model=model,
        optimizer=OPTIMIZERS[optimizer],
        schedule=schedule(
            "constant", rate=rate, total_steps=1000, warmup_steps=warmup_steps
        ),
        batches=Batches(images, batch_size=batch_size, seed=0),
        steps_per_call=steps_per_call,
        compiled=compiled,
        **settings,
    )  # fmt: skip


def train(loop: Loop, steps: int) -> np.ndarray:
    """Sums [steps, 2], whatever the steps per call."""
    sums = []
    while steps:
        now = min(steps, loop.steps_per_call)
        sums.append(loop.run(now))
        steps -= now
    return np.concatenate(sums)


def weights(loop: Loop) -> list[np.ndarray]:
    return [np.asarray(array) for array in loop.state_arrays()]


def assert_equal(one: Loop, other: Loop, **tolerance) -> None:
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_allclose(a, b, **({"rtol": 0, "atol": 0} | tolerance))


def test_the_loss_falls():
    epochs = train(make(rate=1e-2), 88).reshape(8, 11, 2).sum(axis=(1, 2))
    assert epochs[-1] < 0.9 * epochs[0]


@pytest.mark.parametrize("network", WIDTHS)
@pytest.mark.parametrize("compiled", [True, False])
def test_one_and_two_replicas_agree_over_100_steps(network, compiled):
    # 103 examples in batches of 10: every eleventh has 3, which leaves the second replica empty.
    one, two = (make(replicas=n, network=network, compiled=compiled) for n in (1, 2))
    np.testing.assert_allclose(train(one, 100), train(two, 100), rtol=1e-4)
    assert_equal(one, two, rtol=1e-3, atol=1e-4)


def test_an_odd_batch_size_splits_over_two_replicas():
    one, two = (make(replicas=n, batch_size=7) for n in (1, 2))
    np.testing.assert_allclose(train(one, 30), train(two, 30), rtol=1e-4)


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_same_run_gives_the_same_bits(replicas):
    one, other = (make(replicas=replicas) for _ in range(2))
    np.testing.assert_array_equal(train(one, 25), train(other, 25))
    assert_equal(one, other)


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_steps_per_call_change_no_bit(replicas):
    one = make(replicas=replicas, steps_per_call=8)
    other = make(replicas=replicas, steps_per_call=3)
    np.testing.assert_array_equal(train(one, 25), train(other, 25))
    assert_equal(one, other)


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_restored_run_goes_on_with_the_same_bits(replicas):
    whole = make(replicas=replicas)
    expected = train(whole, 30)[17:]
    first = make(replicas=replicas)
    train(first, 17)
    resumed = make(replicas=replicas)
    train(resumed, 3)
    resumed.restore(first.state_arrays())
    np.testing.assert_array_equal(train(resumed, 13), expected)
    assert_equal(resumed, whole)


def test_a_step_is_the_definition_of_the_loss_and_of_the_update():
    loop = make(rate=1e-2, beta=0.5)
    model = loop._model
    x = to_unit(IMAGES[loop._batches.rows(0)])
    before = model.get_weights()
    with tf.GradientTape() as tape:
        rate, distortion = model.rate_and_distortion(x, loop._noise(tf.constant(0, tf.int64)))
        loss = tf.reduce_mean(distortion + 0.5 * rate)
    gradients = tape.gradient(loss, model.trainable_variables)
    sums = loop.run(1)
    np.testing.assert_allclose(sums[0], [rate.numpy().sum(), distortion.numpy().sum()], rtol=1e-5)
    for old, gradient, new in zip(before, gradients, model.get_weights(), strict=True):
        expected = old - 1e-2 * gradient / np.sqrt(0.1 * gradient**2 + 1e-7)
        np.testing.assert_allclose(new, expected, rtol=1e-3, atol=1e-5)


def test_a_partial_batch_is_averaged_over_its_own_examples():
    """Its gradients are those of the same examples as a whole batch."""
    partial = make(images=IMAGES[:3], batch_size=10)
    noise = partial._noise(tf.constant(0, tf.int64))
    partial.run(1)
    model = make(images=IMAGES[:3], batch_size=3)._model
    x = to_unit(IMAGES[:3][partial._batches.rows(0)])
    with tf.GradientTape() as tape:
        rate, distortion = model.rate_and_distortion(x, noise[:3])
        loss = tf.reduce_mean(distortion + rate)
    gradients = tape.gradient(loss, model.trainable_variables)
    for slots, gradient in zip(partial.state.slots, gradients, strict=True):
        np.testing.assert_allclose(slots[0].numpy(), 0.1 * gradient**2, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("replicas", [1, 2])
def test_clipping_acts_on_the_summed_gradients(replicas):
    loop = make(replicas=replicas, clip_norm=1e-3, optimizer="adam")
    loop.run(1)
    # After one step Adam's first moment is a tenth of the gradient.
    moments = [slots[0].numpy().ravel() * 10 for slots in loop.state.slots]
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(moments)), 1e-3, rtol=1e-4)


def float16(**kwargs) -> Loop:
    loss_scale = precision.LossScale(initial=2.0**10, growth_steps=4)
    return make(dtype="mixed_float16", loss_scale=loss_scale, compiled=False, **kwargs)


@pytest.mark.parametrize("replicas", [1, 2])
def test_float16_trains_and_its_scale_grows(replicas):
    loop = float16(replicas=replicas)
    assert np.isfinite(train(loop, 8)).all()
    assert loop.state.loss_scale.numpy() == 2.0**12


@pytest.mark.parametrize("replicas", [1, 2])
def test_an_overflow_on_one_replica_skips_the_step_on_all(replicas):
    loop = float16(replicas=replicas)
    own = loop._gradients

    def overflowing(state, pixels, count, replica):
        gradients, sums = own(state, pixels, count, replica)
        is_last = tf.equal(replica, replicas - 1)
        return [tf.where(is_last, np.inf, g) for g in gradients], sums

    loop._gradients = overflowing
    loop._call = loop._build(compiled=False)
    before = weights(loop)
    loop.run(1)
    for variable, old in zip(tf.nest.flatten(loop.state.weights), before, strict=False):
        np.testing.assert_array_equal(variable.numpy(), old)
    assert all(not slot.numpy().any() for slots in loop.state.slots for slot in slots)
    assert loop.state.loss_scale.numpy() == 2.0**9
    assert loop.state.step.numpy() == 1


def test_bfloat16_stays_near_float32():
    exact, mixed = make(), make(dtype="mixed_bfloat16")
    np.testing.assert_allclose(train(exact, 20).sum(1), train(mixed, 20).sum(1), rtol=0.02)


def preset_curve(preset: str, replicas: int, images: np.ndarray) -> np.ndarray:
    """Losses [100] of a preset's first steps, at its own sizes, batch and learning rates."""
    config = load_config(preset)
    loop = make(
        replicas=replicas,
        network=config.network,
        images=images,
        batch_size=config.batch_size,
        widths=config.widths,
        latents=config.latents,
        rate=config.learning_rate,
        optimizer=config.optimizer,
        warmup_steps=config.warmup_steps,
        steps_per_call=50,
        compiled=not is_convolutional(config.network),
    )
    return train(loop, 100).sum(axis=1)


def test_the_mlp_preset_agrees_on_one_and_two_replicas(example_set):
    """The project's promise: 1e-4 over 100 steps."""
    images = example_set.read("train").images
    one, two = (preset_curve("mlp", replicas, images) for replicas in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["mlp", "conv"])
def test_the_presets_agree_on_one_and_two_replicas_on_fashion_mnist(preset, fashion_mnist_data_dir):
    source, _ = sources.resolve(sources.Request("fashion_mnist", data_dir=fashion_mnist_data_dir))
    part = next(part for part in source.slices() if part.split == "train")
    blocks = itertools.islice(source.read(part), 2)
    images = np.concatenate([block.images for block in blocks])
    one, two = (preset_curve(preset, replicas, images) for replicas in (1, 2))
    np.testing.assert_allclose(one, two, rtol=1e-4)

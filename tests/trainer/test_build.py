import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from components.base.errors import ConfigError
from components.model import principal_components
from tests.conftest import tiny_run, tiny_train_config
from trainer import build, choices
from trainer.devices.precision import LossScale
from trainer.optimization import optimizer
from trainer.optimization.schedules import LinearBeta, OneCycleRate

IMAGES = np.random.default_rng(0).integers(0, 256, (103, 8, 8, 1), np.uint8)


def step(number: int) -> tf.Tensor:
    return tf.constant(number, tf.int64)


def test_a_run_has_the_settings_of_its_config():
    run = tiny_run(
        IMAGES,
        epochs=4,
        batch_size=10,
        accumulate=2,
        optimizer="lion",
        clip_norm=3.0,
        ema_decay=0.9,
        free_bits=0.25,
        seed=7,
        steps_per_call=5,
    )
    step_config = run.loop.step_config
    assert (run.batches.steps_per_epoch, run.total_steps) == (11, 44)
    assert (step_config.accumulate, step_config.steps_per_call) == (2, 5)
    assert (step_config.free_bits, step_config.seed) == (0.25, 7)
    update = step_config.update
    assert update.optimizer == optimizer.Lion()
    assert (update.clip_norm, update.ema_decay, update.loss_scale) == (3.0, 0.9, None)
    assert run.devices.kinds == ["CPU"]
    assert run.devices.precision == "float32"
    assert not run.devices.has_gpus


@pytest.mark.parametrize("name", choices.OPTIMIZERS)
def test_every_optimizer_can_be_built(name):
    run = tiny_run(IMAGES, network="conv", widths=(2, 4), optimizer=name)
    assert isinstance(run.loop.step_config.update.optimizer, choices.OPTIMIZERS[name])


def test_schedules_are_chosen_by_name():
    run = tiny_run(
        IMAGES, network="conv", widths=(2, 4), schedule="one_cycle", beta_schedule="linear"
    )
    assert isinstance(run.loop.step_config.update.learning_rate, OneCycleRate)
    assert isinstance(run.loop.step_config.beta, LinearBeta)


def test_the_schedules_cover_the_whole_run():
    run = tiny_run(
        IMAGES, epochs=4, batch_size=10, learning_rate=0.5, schedule="cosine", warmup_steps=4,
        warmup_share=0.1, beta=3.0, beta_schedule="cyclical", beta_cycles=2,
    )  # fmt: skip
    rate, beta = run.loop.step_config.update.learning_rate, run.loop.step_config.beta
    np.testing.assert_allclose(rate(step(1)), 0.25 * (1 + np.cos(np.pi / 44)) / 2, rtol=1e-6)
    np.testing.assert_allclose(rate(step(33)), 0.5 * (1 + np.cos(np.pi * 33 / 44)) / 2, rtol=1e-6)
    # Two cycles of 22 steps; beta rises in the first 11 of each.
    expected = [0, 3.0 / 11, 3.0, 3.0, 0, 3.0 / 11]
    np.testing.assert_allclose(
        [beta(step(at)) for at in (0, 1, 11, 21, 22, 23)], expected, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"warmup_steps": 500}, 4),
        ({"warmup_steps": 500, "warmup_share": 0.5}, 22),
        ({"warmup_steps": 500, "warmup_share": 1.0}, 44),
        ({"warmup_steps": 500, "warmup_share": 0.0}, 0),
        ({"warmup_steps": 3}, 3),
        ({"warmup_steps": 0, "warmup_share": 1.0}, 0),
    ],
)
def test_the_warm_up_is_bounded_by_a_share_of_the_run(fields, expected):
    """Of 44 steps."""
    run = tiny_run(IMAGES, epochs=4, batch_size=10, schedule="constant", **fields)
    assert run.warmup_steps == expected
    rate = run.loop.step_config.update.learning_rate
    values = [float(rate(step(at))) / run.config.learning_rate for at in range(44)]
    np.testing.assert_allclose(
        values, [min(1, (at + 1) / max(expected, 1)) for at in range(44)], rtol=1e-6
    )


def test_a_call_has_at_most_the_steps_of_an_epoch():
    assert tiny_run(IMAGES, batch_size=10, steps_per_call=100).loop.step_config.steps_per_call == 11


def test_weight_decay_shrinks_kernels():
    """A step with and one without it differ by learning_rate * weight_decay * kernel."""
    settings = {"optimizer": "adamw", "learning_rate": 0.01, "schedule": "constant"}
    plain, decayed = (
        tiny_run(IMAGES, network="conv", widths=(2, 4), weight_decay=decay, **settings)
        for decay in (0.0, 0.5)
    )
    before = plain.model.get_weights()
    for run in (plain, decayed):
        run.loop.run(1)
    after = zip(plain.model.get_weights(), decayed.model.get_weights(), strict=True)
    for old, (without, with_decay) in zip(before, after, strict=True):
        share = 0.01 * 0.5 if old.ndim >= 2 else 0.0
        np.testing.assert_allclose(without - with_decay, share * old, rtol=1e-3, atol=1e-7)


def test_xla_compiles_everything_except_convolutions_on_the_cpu():
    assert tiny_run(IMAGES).loop.step_config.compiled
    conv = tiny_run(IMAGES, network="conv", widths=(2, 4))
    assert not conv.loop.step_config.compiled
    on_gpus = dataclasses.replace(conv.devices, kinds=["GPU"])
    run = build.build_run_on(on_gpus, conv.config, conv.batches)
    assert run.loop.step_config.compiled


def test_the_seed_determines_the_initial_weights():
    one, same, other = (tiny_run(IMAGES, seed=seed).model.get_weights() for seed in (1, 1, 2))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_only_the_inner_layers_have_mixed_precision(precision):
    config = tiny_train_config()
    devices = dataclasses.replace(build.claim_devices(config), precision=precision)
    run = build.build_run_on(devices, config, tiny_run(IMAGES).batches)
    assert run.model.encoder.layers[1].compute_dtype == precision
    assert run.model.encoder.layers[-1].compute_dtype == "float32"
    expected = LossScale() if precision == "float16" else None
    assert run.loop.step_config.update.loss_scale == expected


def test_a_precision_that_the_host_lacks_is_rejected():
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        build.claim_devices(tiny_train_config(precision="float16"))


@pytest.mark.parametrize(("cache_bytes", "is_in_memory"), [(None, True), (0, False)])
def test_the_training_split_is_in_memory_or_streamed(example_set, cache_bytes, is_in_memory):
    run = build.build_run(tiny_train_config(), example_set, cache_bytes=cache_bytes)
    assert run.batches.is_in_memory == is_in_memory
    assert run.batches.num_examples == example_set.num_examples("train")
    assert run.batches.image_shape == run.model.image_shape == (28, 28, 1)
    run.batches.close()


LINEAR = {
    "network": "conv",
    "widths": (2, 4),
    "latents": 3,
    "likelihood": "gaussian",
    "linear_path": "principal_components",
}


def test_a_run_with_a_linear_path_starts_as_the_principal_components(example_set):
    run = build.build_run(tiny_train_config(**LINEAR), example_set)
    run.batches.close()
    components = principal_components.of_images(example_set.images("train"), 3)
    # What the network adds is left out.
    run.model.assign([np.zeros(weight.shape) for weight in run.model.trainable_variables])
    means = run.model.likelihood(tf.constant(np.eye(4, 3), tf.float32)).location
    steps = np.pad(components.scales * components.directions, [(0, 0), (0, 1)])
    expected = components.mean + steps.T
    np.testing.assert_allclose(means, expected.reshape(4, *example_set.image_shape), atol=1e-5)


def test_one_and_two_replicas_of_a_linear_path_agree(example_set):
    config = tiny_train_config(**LINEAR, optimizer="adam", steps_per_call=5)
    one, two = (
        build.build_run(dataclasses.replace(config, replicas=count), example_set)
        for count in (1, 2)
    )
    before = one.model.get_weights()
    assert two.devices.kinds == ["CPU", "CPU"]
    for expected, actual in zip(before, two.model.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)
    sums = [np.concatenate([run.loop.run(5), run.loop.run(5)]) for run in (one, two)]
    np.testing.assert_allclose(*sums, rtol=1e-4)
    for run in (one, two):
        run.batches.close()


@pytest.mark.parametrize("cache_bytes", [None, 0])
def test_a_conditional_run_has_the_labels_of_its_images(example_set, cache_bytes):
    config = tiny_train_config(condition="label", steps_per_call=2)
    run = build.build_run(config, example_set, cache_bytes=cache_bytes)
    assert run.model.architecture.classes == len(example_set.class_names) == 10
    chunk = run.batches.chunk(0, 1, pad_to=(1, config.batch_size))
    whole, rows = example_set.read("train"), run.batches.rows(0)
    np.testing.assert_array_equal(chunk.labels[0], whole.labels[rows])
    np.testing.assert_array_equal(chunk.images[0], whole.images[rows])
    run.batches.close()

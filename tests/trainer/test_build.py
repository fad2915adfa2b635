import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from components.base.errors import ConfigError
from tests.conftest import tiny_run, tiny_train_config
from trainer import build
from trainer.devices.precision import LossScale
from trainer.optimization import optimizer

IMAGES = np.random.default_rng(0).integers(0, 256, (103, 8, 8, 1), np.uint8)


def step(number: int) -> tf.Tensor:
    return tf.constant(number, tf.int64)


def test_a_run_has_the_parts_that_its_config_names():
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
    steps = run.loop.steps
    assert (run.batches.steps_per_epoch, run.total_steps) == (11, 44)
    assert (steps.accumulate, steps.per_call, steps.free_bits, steps.seed) == (2, 5, 0.25, 7)
    assert steps.update.optimizer == optimizer.Lion()
    assert (steps.update.clip_norm, steps.update.ema_decay) == (3.0, 0.9)
    assert steps.update.loss_scale is None
    assert run.machine.devices == ["CPU"]
    assert run.machine.precision == "float32"
    assert not run.machine.has_gpus


def test_the_schedules_go_over_the_whole_run():
    run = tiny_run(
        IMAGES, epochs=4, batch_size=10, learning_rate=0.5, schedule="cosine", warmup_steps=4,
        beta=3.0, beta_schedule="cyclical", beta_cycles=2,
    )  # fmt: skip
    rate, beta = run.loop.steps.update.schedule, run.loop.steps.beta
    np.testing.assert_allclose(rate(step(1)), 0.25 * (1 + np.cos(np.pi / 44)) / 2, rtol=1e-6)
    np.testing.assert_allclose(rate(step(33)), 0.5 * (1 + np.cos(np.pi * 33 / 44)) / 2, rtol=1e-6)
    # Two cycles of 22 steps; beta rises over the first 11 of each.
    expected = [0, 3.0 / 11, 3.0, 3.0, 0, 3.0 / 11]
    np.testing.assert_allclose(
        [beta(step(at)) for at in (0, 1, 11, 21, 22, 23)], expected, rtol=1e-6
    )


def test_a_call_holds_no_more_steps_than_an_epoch():
    assert tiny_run(IMAGES, batch_size=10, steps_per_call=100).loop.steps.per_call == 11


def test_weight_decay_takes_its_share_of_the_kernels_beside_the_update():
    """One step with it and one without differ by rate * weight_decay * kernel."""
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


def test_xla_compiles_what_gains_by_it():
    assert tiny_run(IMAGES).loop.steps.compiled
    conv = tiny_run(IMAGES, network="conv", widths=(2, 4))
    assert not conv.loop.steps.compiled
    on_gpus = dataclasses.replace(conv.machine, devices=["GPU"])
    assert build.run_on(on_gpus, conv.config, conv.batches).loop.steps.compiled


def test_the_seed_gives_the_first_weights():
    one, same, other = (tiny_run(IMAGES, seed=seed).model.get_weights() for seed in (1, 1, 2))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_is_of_the_inner_layers_alone(precision):
    config = tiny_train_config()
    machine = dataclasses.replace(build.machine(config), precision=precision)
    run = build.run_on(machine, config, tiny_run(IMAGES).batches)
    assert run.model.encoder.layers[1].compute_dtype == precision
    assert run.model.encoder.layers[-1].compute_dtype == "float32"
    expected = LossScale() if precision == "float16" else None
    assert run.loop.steps.update.loss_scale == expected


def test_devices_and_precisions_that_are_not_there_are_refused():
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        build.machine(tiny_train_config(precision="float16"))


@pytest.mark.parametrize(("cache_bytes", "is_in_memory"), [(None, True), (0, False)])
def test_a_run_on_an_example_set_holds_or_streams_its_training_split(
    example_set, cache_bytes, is_in_memory
):
    run = build.run(tiny_train_config(), example_set, cache_bytes=cache_bytes)
    assert run.batches.is_in_memory == is_in_memory
    assert run.batches.num_examples == example_set.num_examples("train")
    assert run.batches.image_shape == run.model.image_shape == (28, 28, 1)
    run.batches.close()

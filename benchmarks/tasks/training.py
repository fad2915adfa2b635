"""Our training loop, its step alone, its start-up, and the limit of the machine."""

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmarks.peers.common import LEARNING_RATE
from benchmarks.tasks.reports import Report, laps

if TYPE_CHECKING:
    from trainer.build import TrainingRun

# The peers' settings, so that losses compare. They do not change the cost of a step.
_OVERRIDES = {"schedule": "constant", "warmup_steps": 0, "learning_rate": LEARNING_RATE}


def ours(examples: str, preset: str, seconds: float, cache_bytes: int | None = None) -> Report:
    """Our loop on one replica: whole epochs, with rate and distortion of every step read.

    Args:
      examples: the prepared directory.
      preset: name of the trainer's preset.
      seconds: the shortest time to measure.
      cache_bytes: as the trainer's option.
    """
    return _time_loop(_build(examples, preset, _OVERRIDES, cache_bytes=cache_bytes), seconds)


def preset(examples: str, preset: str, seconds: float) -> Report:
    """A preset with its own settings on one replica, and the machine's limit.

    In addition to the figures of `ours`, it reports the `precision`, the floating-point operations
    of a training step per image (`flops`), and those of a large float32 matrix product per second
    (`limit`).

    Args:
      examples: the prepared directory.
      preset: name of the trainer's preset.
      seconds: the shortest time to measure.
    """
    from benchmarks import machine
    from trainer import memory_check

    run = _build(examples, preset, {})
    report = _time_loop(run, seconds)
    costs = memory_check.planned_costs(
        run.config, run.batches.image_shape, classes=run.model.architecture.classes
    )
    return report | {
        "precision": run.devices.precision,
        "flops": costs.training_flops,
        "limit": machine.matmul_rate(),
    }


def _time_loop(run: "TrainingRun", seconds: float) -> Report:
    """Times whole epochs of a run's loop."""
    import numpy as np

    loop, batches = run.loop, run.batches

    def lap() -> float:
        sums = np.zeros(2)
        done = 0
        while done < batches.steps_per_epoch:
            num_steps = min(loop.step_config.steps_per_call, batches.steps_per_epoch - done)
            step_sums = loop.run(num_steps).astype(np.float64)
            if not np.isfinite(step_sums).all():
                raise ArithmeticError("the loss is not finite")
            sums += step_sums.sum(axis=0)
            done += num_steps
        return float(sums.sum()) / batches.num_examples

    report = laps(lap, images=batches.num_examples, seconds=seconds)
    batches.close()
    return report


def bare(examples: str, preset: str, seconds: float) -> Report:
    """Our step without strategy, input pipeline and metrics.

    One call makes as many steps as a call of our loop. Every call trains on the same images, which
    are a tensor already, and returns one loss.
    """
    import keras
    import tensorflow as tf

    from components.model.noise import standard_normal
    from components.model.pixels import to_unit

    run = _build(examples, preset, _OVERRIDES)
    step_config, model, batch_size = run.loop.step_config, run.model, run.batches.batch_size
    objective = step_config.objective
    chunk = run.batches.chunk(
        0, step_config.steps_per_call, pad_to=(step_config.steps_per_call, batch_size)
    )
    images = tf.constant(chunk.images)
    run.batches.close()

    def step(state, pixels):
        noise = standard_normal(
            (batch_size, objective.samples * model.latents), seed=step_config.seed, step=state.step
        )
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.weights)
            pairs = list(zip(model.trainable_variables, state.weights, strict=True))
            with keras.StatelessScope(pairs):
                losses = objective(
                    model,
                    to_unit(pixels),
                    noise,
                    beta=step_config.beta(state.step),
                    free_bits=step_config.free_bits,
                )
            loss = tf.reduce_mean(losses.loss)
        return step_config.update(state, tape.gradient(loss, state.weights)), loss

    @tf.function(jit_compile=step_config.compiled, autograph=False)
    def call(state, images):
        def body(index, state, total):
            state, loss = step(state, images[index])
            return index + 1, state, total + loss

        _, state, total = tf.while_loop(
            lambda index, *_: index < step_config.steps_per_call,
            body,
            (0, state, 0.0),
            parallel_iterations=1,
        )
        return state, total / step_config.steps_per_call

    state = run.loop.state.read()

    def lap() -> float:
        nonlocal state
        state, loss = call(state, images)
        return float(loss)

    return laps(lap, images=step_config.steps_per_call * batch_size, seconds=seconds)


def first_call(examples: str, preset: str) -> Report:
    """`python -m trainer`: seconds from the process's start to the end of its first call of steps.

    Args:
      examples: the prepared directory.
      preset: name of the trainer's preset.
    """
    from components.base import tensorflow_setup

    tensorflow_setup.load()
    from trainer import __main__ as command
    from trainer.optimization.loop import Loop

    class FirstCallDone(Exception):  # noqa: N818 - not an error
        pass

    run: Any = Loop.run

    def run_once(*arguments: Any) -> Any:
        run(*arguments)
        raise FirstCallDone

    Loop.run = run_once  # type: ignore[assignment, method-assign]
    with tempfile.TemporaryDirectory() as directory:
        output = f"{directory}/model"
        sys.argv[1:] = ["--examples", examples, "--output", output, "--preset", preset]
        try:
            command.main()
        except FirstCallDone:
            return {"seconds": _process_age()}
    raise AssertionError("the trainer ended without a step")


def limit(model: str) -> Report:
    """The rate if only matrix products took time, at the rate of large ones.

    Args:
      model: a key of `peers.common.SETTINGS`.
    """
    from benchmarks import machine

    flops = peer_flops(model)
    return {"images": machine.matmul_rate() / flops, "seconds": 1.0, "flops": flops}


def peer_flops(model: str) -> int:
    """The floating-point operations of a training step of Keras's model, per image.

    Args:
      model: a key of `peers.common.SETTINGS`.
    """
    import tensorflow as tf

    from benchmarks.peers import keras_fit
    from components.model import costs

    encoder, decoder = keras_fit.networks(model)

    @tf.function(autograph=False)
    def forward(image: tf.Tensor) -> tf.Tensor:
        *_, z = encoder(image)
        return decoder(z)

    image = tf.TensorSpec((1, *encoder.input_shape[1:]))
    graph = forward.get_concrete_function(image).graph
    return costs.TRAINING_FACTOR * sum(costs.count_operations(graph).values())


def _build(
    examples: str, preset: str, overrides: Mapping[str, Any], *, cache_bytes: int | None = None
) -> "TrainingRun":
    """The parts of a training run, as `python -m trainer` builds them."""
    from components.data.prepared_dataset import PreparedDataset
    from trainer import build, precision_choice
    from trainer.config import load_config

    config = load_config(preset, overrides=overrides)
    dataset = PreparedDataset.open(examples)
    devices = precision_choice.with_precision(build.devices_for(config, dataset), config, dataset)
    return build.build_run(config, dataset, devices=devices, cache_bytes=cache_bytes)


def _process_age() -> float:
    """Seconds since this process started."""
    with open("/proc/self/stat") as file:
        # The process's name, in parentheses, may contain anything; the start is field 22.
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")

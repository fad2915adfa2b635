"""What `benchmarks.train` measures: one task a process, named with its arguments, JSON.

A task prints a report as its last line: `images`, the `seconds` that they took, and for those that
train the `loss` of the second pass over the images, in nats per image.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.peers import RATE, Report, laps

if TYPE_CHECKING:
    from trainer.build import TrainingRun

# As the peers train, so that losses compare: a step costs no less than the presets'.
_OVERRIDES = {"schedule": "constant", "warmup_steps": 0, "learning_rate": RATE}


def main(name: str, arguments: str) -> None:
    # Libraries would fill standard error, whose last line is to say why a task failed.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # The figures that were asked for are the CPU's.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    report = TASKS[name](**json.loads(arguments))
    print(f"\n{json.dumps(report)}", flush=True)


# --- ours -----------------------------------------------------------------------------------------


def ours(examples: str, preset: str, seconds: float, cache_bytes: int | None = None) -> Report:
    """Our loop: whole epochs on one replica, the rate and distortion of each step looked at."""
    import numpy as np

    run = _run(examples, preset, cache_bytes=cache_bytes)
    loop, batches = run.loop, run.batches

    def lap() -> float:
        sums = np.zeros(2)
        done = 0
        while done < batches.steps_per_epoch:
            num_steps = min(loop.steps.per_call, batches.steps_per_epoch - done)
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
    """Our step without strategy, input and metrics: as many as our loop makes in one call, over and
    over on the same images, which are a tensor already; one loss a call."""
    import keras
    import tensorflow as tf

    from components.model import objective
    from components.model.noise import standard_normal
    from components.model.vae import to_unit

    run = _run(examples, preset)
    steps, model, batch_size = run.loop.steps, run.model, run.batches.batch_size
    chunk = run.batches.chunk(0, steps.per_call, pad_to=(steps.per_call, batch_size))
    images = tf.constant(chunk.images)
    run.batches.close()

    def step(state, pixels):
        noise = standard_normal((batch_size, model.latents), seed=steps.seed, step=state.step)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.weights)
            pairs = list(zip(model.trainable_variables, state.weights, strict=True))
            with keras.StatelessScope(pairs):
                rates, distortion = model.rates_and_distortion(to_unit(pixels), noise)
            beta = steps.beta(state.step)
            losses = objective.loss(rates, distortion, beta=beta, free_bits=steps.free_bits)
            loss = tf.reduce_mean(losses)
        return steps.update(state, tape.gradient(loss, state.weights)), loss

    @tf.function(jit_compile=steps.compiled, autograph=False)
    def call(state, images):
        def body(index, state, total):
            state, loss = step(state, images[index])
            return index + 1, state, total + loss

        _, state, total = tf.while_loop(
            lambda index, *_: index < steps.per_call, body, (0, state, 0.0), parallel_iterations=1
        )
        return state, total / steps.per_call

    state = run.loop.state.read()

    def lap() -> float:
        nonlocal state
        state, loss = call(state, images)
        return float(loss)

    return laps(lap, images=steps.per_call * batch_size, seconds=seconds)


def _run(examples: str, preset: str, *, cache_bytes: int | None = None) -> "TrainingRun":
    """The parts of a run, as `python -m trainer` builds them."""
    from components.data.prepared_dataset import PreparedDataset
    from trainer import build
    from trainer.config import load_config

    config = load_config(preset, overrides=_OVERRIDES)
    return build.run(config, PreparedDataset.open(examples), cache_bytes=cache_bytes)


def first_call(examples: str, preset: str) -> Report:
    """`python -m trainer`, from the process's start to the end of its first call of steps."""
    from components.base import tensorflow_setup

    tensorflow_setup.load()
    from trainer import __main__ as command
    from trainer.optimization.loop import Loop

    class Reached(Exception):  # noqa: N818 - no error
        pass

    run: Any = Loop.run

    def clocked(*arguments: Any) -> Any:
        run(*arguments)
        raise Reached

    Loop.run = clocked  # type: ignore[assignment, method-assign]
    with tempfile.TemporaryDirectory() as directory:
        output = f"{directory}/model"
        sys.argv[1:] = ["--examples", examples, "--output", output, "--preset", preset]
        try:
            command.main()
        except Reached:
            return {"seconds": _age()}
    raise AssertionError("the trainer made no step")


def _age() -> float:
    """Seconds since this process started."""
    with open("/proc/self/stat") as file:
        # The name, in brackets, may hold anything; the start is the 22nd field.
        ticks = int(file.read().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


# --- peers ----------------------------------------------------------------------------------------


def keras_fit(**arguments: Any) -> Report:
    from benchmarks.peers import keras_fit

    return keras_fit.keras_fit(**arguments)


def jax_steps(**arguments: Any) -> Report:
    from benchmarks.peers import jax_steps

    return jax_steps.jax_steps(**arguments)


def torch_loop(**arguments: Any) -> Report:
    from benchmarks.peers import torch_loop

    return torch_loop.torch_loop(**arguments)


def limit(model: str) -> Report:
    """What there would be if nothing but the products took time, at the rate of large ones."""
    from benchmarks import machine
    from benchmarks.peers import keras_fit
    from components.model import costs

    flops = costs.count(*keras_fit.networks(model)).training_flops
    return {"images": machine.matmul_rate() / flops, "seconds": 1.0, "flops": flops}


TASKS: dict[str, Callable[..., Report]] = {
    task.__name__: task
    for task in (ours, bare, first_call, keras_fit, jax_steps, torch_loop, limit)
}

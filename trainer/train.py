"""The train stage: load, build, fit, save, publish."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf
from etils import epath

from components import artifacts, console, metrics
from components.batches import Batches
from components.errors import Stopped, WorkError
from components.example_set import ExampleSet
from components.networks import is_convolutional
from components.vae import VAE
from trainer import precision, schedules, strategy
from trainer.checkpoints import Checkpoint, Checkpoints
from trainer.config import TrainConfig
from trainer.loop import Loop
from trainer.monitor import EpochMetrics, Monitor
from trainer.optimizer import OPTIMIZERS
from trainer.signals import StopRequest, deferred_stop

HELDOUT = "validation"


@dataclasses.dataclass(frozen=True)
class Run:
    """The parts of a training run."""

    config: TrainConfig
    loop: Loop
    model: VAE
    batches: Batches
    heldout: np.ndarray | None
    checkpoints: Checkpoints
    precision: str
    devices: list[str]


def train(plan: artifacts.Plan, config: TrainConfig, examples: ExampleSet, *, overwrite: bool):
    """Trains as `plan` and `config` say, going on where an earlier call of the same stopped.

    Raises:
      ConfigError: the draft holds unfinished work of another config, or the devices do not fit.
      WorkError: the loss became NaN or infinite, or a shard is damaged.
      Stopped: SIGTERM or Ctrl-C; the work so far is saved.
    """
    with plan.publish(resume=True, overwrite=overwrite) as draft, deferred_stop() as stop:
        run = _build(config, examples, draft.path)
        history = _fit(run, draft.path, stop)
        run.model.in_float32().save(str(draft.path / "model.keras"))
        draft.notes = examples.artifact.manifest["notes"]
        draft.counts = {
            "parameters": run.model.count_params(),
            "steps": history[-1].step,
            "precision": run.precision,
            "devices": run.devices,
            "final": dataclasses.asdict(history[-1]),
        }


def _build(config: TrainConfig, examples: ExampleSet, directory: epath.Path) -> Run:
    strategy.split_cpu(config.replicas)
    gpus = tf.config.list_physical_devices("GPU")
    number_type = precision.resolve(config.precision, gpus)
    mirrored = strategy.create(config.replicas)
    keras.utils.set_random_seed(config.seed)
    with mirrored.scope():
        model = VAE(
            image_shape=examples.image_shape,
            network=config.network,
            latents=config.latents,
            widths=config.widths,
            compute_dtype=precision.dtype_policy(number_type),
        )
    batches = Batches(examples.read("train").images, batch_size=config.batch_size, seed=config.seed)
    loop = Loop(
        strategy=mirrored,
        model=model,
        optimizer=OPTIMIZERS[config.optimizer],
        schedule=schedules.schedule(
            config.schedule,
            rate=config.learning_rate,
            total_steps=config.epochs * batches.steps_per_epoch,
            warmup_steps=config.warmup_steps,
        ),
        batches=batches,
        steps_per_call=min(config.steps_per_call, batches.steps_per_epoch),
        beta=config.beta,
        clip_norm=config.clip_norm,
        seed=config.seed,
        loss_scale=precision.LossScale() if number_type == "float16" else None,
        # XLA's convolutions on the CPU are many times slower than oneDNN's.
        compiled=bool(gpus) or not is_convolutional(config.network),
    )
    heldout = examples.read(HELDOUT).images if HELDOUT in examples.splits else None
    devices = [tf.DeviceSpec.from_string(d).device_type for d in mirrored.extended.worker_devices]
    console.say(
        f"train: {model.count_params():,} parameters, {len(devices)} x {devices[0]}, "
        f"{number_type}, {config.epochs} epochs of {batches.steps_per_epoch:,} steps"
    )
    return Run(
        config, loop, model, batches, heldout, Checkpoints(directory / "checkpoints"),
        number_type, devices,
    )  # fmt: skip


def _fit(run: Run, directory: epath.Path, stop: StopRequest) -> list[EpochMetrics]:
    """Trains to the last epoch; returns every epoch's metrics."""
    steps_per_epoch = run.batches.steps_per_epoch
    step, sums = _restore(run)
    epoch, done = divmod(step, steps_per_epoch)
    with Monitor(
        directory,
        num_examples=run.batches.num_examples,
        epochs=run.config.epochs,
        resumed_step=step,
        met=epoch * run.batches.num_examples + run.batches.num_met(done),
    ) as monitor:
        while step < run.config.epochs * steps_per_epoch:
            epoch, done = divmod(step, steps_per_epoch)
            num_steps = min(run.loop.steps_per_call, steps_per_epoch - done)
            step_sums = run.loop.run(num_steps).astype(np.float64)
            _check_finite(step_sums, step, run.checkpoints)
            sums = sums + step_sums.sum(axis=0)
            met_before = run.batches.num_met(done)
            step, done = step + num_steps, done + num_steps
            met = run.batches.num_met(done)
            losses = _losses(sums / met, run.config.beta)
            monitor.on_steps(epoch=epoch + 1, examples=met - met_before, losses=losses)
            if done == steps_per_epoch or stop.name:
                state = _finite_state(run, step)
                if done == steps_per_epoch:
                    # Before the checkpoint: a resumed run drops a row, but cannot make one up.
                    heldout = _heldout(run, epoch + 1)
                    monitor.on_epoch(EpochMetrics(epoch + 1, step, losses, heldout))
                    sums = np.zeros(2)
                run.checkpoints.save(Checkpoint(step, state, sums))
            if stop.name and step < run.config.epochs * steps_per_epoch:
                raise Stopped(f"{stop.name}: stopped at step {step}; the same command goes on")
        return monitor.history


def _restore(run: Run) -> tuple[int, np.ndarray]:
    """Takes up the latest checkpoint; returns its step and the sums of its running epoch."""
    checkpoint = run.checkpoints.latest()
    if checkpoint is None:
        return 0, np.zeros(2)
    run.loop.restore(checkpoint.arrays)
    console.say(f"train: going on from step {checkpoint.step}")
    return checkpoint.step, checkpoint.epoch_sums


def _finite_state(run: Run, step: int) -> list[np.ndarray]:
    """The training state, which the last update may have spoilt after its loss was measured."""
    state = run.loop.state_arrays()
    if not all(np.isfinite(array).all() for array in state):
        raise _not_finite("the training state is", step, run.checkpoints)
    return state


def _check_finite(step_sums: np.ndarray, first_step: int, checkpoints: Checkpoints) -> None:
    bad = np.flatnonzero(~np.isfinite(step_sums).all(axis=1))
    if not bad.size:
        return
    raise _not_finite("the loss is", first_step + int(bad[0]) + 1, checkpoints)


def _not_finite(what: str, step: int, checkpoints: Checkpoints) -> WorkError:
    kept = checkpoints.latest()
    return WorkError(
        f"{what} not finite at step {step}; "
        + (f"the checkpoint of step {kept.step} is kept; " if kept else "")
        + "try a lower --learning_rate, --clip_norm, or --precision float32"
    )


def _heldout(run: Run, epoch: int) -> dict[str, float] | None:
    """The held-out negative ELBO and its parts, in nats per example."""
    is_due = epoch % run.config.eval_every == 0 or epoch == run.config.epochs
    if run.heldout is None or not is_due:
        return None
    scores = metrics.elbo(run.model, run.heldout, seed=run.config.seed)
    means = np.array([scores.rate.mean(dtype=np.float64), scores.distortion.mean(dtype=np.float64)])
    return _losses(means, beta=1.0)


def _losses(means: np.ndarray, beta: float) -> dict[str, float]:
    rate, distortion = (float(mean) for mean in means)
    return {"loss": distortion + beta * rate, "rate": rate, "distortion": distortion}

"""The train stage: build, fit, save, publish."""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from components.base import artifacts, console
from components.base.errors import Stopped, WorkError
from components.data.prepared_dataset import PreparedDataset
from trainer import build
from trainer.build import TrainingRun
from trainer.config import RunOptions, TrainConfig
from trainer.devices.hosts import host
from trainer.devices.strategy import Agreement
from trainer.recording.heldout import HeldoutEvaluation
from trainer.recording.profiling import Profile
from trainer.recording.recorder import Position, Recorder
from trainer.signals import deferred_stop

HELDOUT = "validation"


def train(
    plan: artifacts.ArtifactPlan,
    config: TrainConfig,
    options: RunOptions,
    examples: PreparedDataset,
    *,
    overwrite: bool,
) -> None:
    """Trains as `plan` and `config` say, going on where an earlier call of the same stopped.

    Of several hosts, every one calls this; the chief alone writes.

    Raises:
      ConfigError: the draft holds unfinished work of another config, or the devices do not fit.
      WorkError: the loss became NaN or infinite, a shard is damaged, or another host was lost.
      Stopped: SIGTERM or Ctrl-C; the work so far is saved.
    """
    with _lost_hosts():
        if host().is_chief:
            with plan.publish(resume=True, overwrite=overwrite) as draft:
                _train_as_chief(draft, config, options, examples)
        else:
            run = build.run(config, examples, cache_bytes=options.cache_bytes)
            _fit(run, None)


@contextlib.contextmanager
def _lost_hosts() -> Iterator[None]:
    """Tells in one line that another host is gone, which the collective operations notice."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError) as error:
        if host().count == 1:
            raise
        reason = str(error.message).partition("\n")[0]
        raise WorkError(
            f"another host was lost ({reason}); mend that and give the same command on all hosts: "
            "it goes on from the last checkpoint"
        ) from None


def _train_as_chief(
    draft: artifacts.Draft, config: TrainConfig, options: RunOptions, examples: PreparedDataset
) -> None:
    """Builds, fits and saves, all into a draft directory."""
    run = build.run(config, examples, cache_bytes=options.cache_bytes)
    _say_what(run)
    heldout = None
    if HELDOUT in examples.splits:
        heldout = HeldoutEvaluation(
            run.model, examples.head(HELDOUT, config.heldout_examples), seed=config.seed
        )
    with Recorder(run, draft.path, heldout=heldout, options=options) as chief:
        _fit(run, chief)
    kept, weights = chief.kept(run.loop.state_arrays())
    chief.checkpoints.keep_newest()
    run.model.in_float32(weights).save(str(draft.path / "model.keras"))
    draft.notes = examples.artifact.manifest["notes"]
    draft.counts = {
        "parameters": run.model.count_params(),
        "steps": chief.history[-1].step,
        "precision": run.machine.precision,
        "devices": run.machine.devices,
        "hosts": host().count,
        "kept": dataclasses.asdict(kept),
        "final": dataclasses.asdict(chief.history[-1]),
    }


def _say_what(run: TrainingRun) -> None:
    replicas, devices = run.machine.strategy.num_replicas_in_sync, run.machine.devices
    console.say(
        f"train: {run.model.count_params():,} parameters, {replicas} x {devices[0]}, "
        f"{run.machine.precision}, {run.config.epochs} epochs of "
        f"{run.batches.steps_per_epoch:,} steps, examples "
        f"{'in memory' if run.batches.is_in_memory else 'streamed from the shards'}"
    )


def _fit(run: TrainingRun, chief: Recorder | None) -> None:
    """Trains to the last epoch, or until patience ends."""
    loop, batches = run.loop, run.batches
    agreement = Agreement(run.machine.strategy)
    position = _start(run, chief, agreement)
    profile = chief.profile if chief else Profile(None, steps=0)
    with contextlib.closing(batches), deferred_stop() as stop, profile:
        while position.step < run.total_steps:
            if agreement.any(chief is not None and not chief.has_patience()):
                break
            done = position.step % batches.steps_per_epoch
            num_steps = min(loop.steps.per_call, batches.steps_per_epoch - done)
            with profile.call(num_steps):
                step_sums = loop.run(num_steps).astype(np.float64)
            _check_finite(step_sums, position.step, chief)
            sums = position.epoch_sums + step_sums.sum(axis=0)
            position = Position(position.step + num_steps, sums)
            met_before, met = batches.num_seen(done), batches.num_seen(done + num_steps)
            if chief:
                chief.on_steps(position.step, examples=met - met_before, means=sums / met)
            is_stopped = agreement.any(stop.name is not None)
            if done + num_steps == batches.steps_per_epoch:
                position = Position(position.step, np.zeros(2))
                state = _finite_state(run, position.step, chief)
                if chief:
                    chief.on_epoch(position, state, means=sums / met)
            elif chief and (is_stopped or chief.is_checkpoint_due()):
                chief.save(position, _finite_state(run, position.step, chief))
            if is_stopped and position.step < run.total_steps:
                raise Stopped(
                    f"{stop.name or 'another host'}: stopped at step {position.step}; "
                    "the same command goes on"
                )
        # No host leaves before the chief, which has the longest way, is through as well.
        agreement.any(False)


def _start(run: TrainingRun, chief: Recorder | None, agreement: Agreement) -> Position:
    """Where to begin: everywhere at the state that the chief has."""
    mine = chief.position if chief else Position(0, np.zeros(2))
    state = run.loop.state_arrays() | {"epoch_sums": mine.epoch_sums}
    state = agreement.from_chief(state)
    sums = state.pop("epoch_sums")
    run.loop.restore(state)
    return Position(int(state["step"]), sums)


def _check_finite(step_sums: np.ndarray, first_step: int, chief: Recorder | None) -> None:
    bad = np.flatnonzero(~np.isfinite(step_sums).all(axis=1))
    if bad.size:
        raise _not_finite("the loss is", first_step + int(bad[0]) + 1, chief)


def _finite_state(run: TrainingRun, step: int, chief: Recorder | None) -> dict[str, np.ndarray]:
    """The training state, which the last update may have spoilt after its loss was measured."""
    state = run.loop.state_arrays()
    if not all(np.isfinite(array).all() for array in state.values()):
        raise _not_finite("the training state is", step, chief)
    return state


def _not_finite(what: str, step: int, chief: Recorder | None) -> WorkError:
    saved = chief.checkpoints.latest() if chief else None
    return WorkError(
        f"{what} not finite at step {step}; "
        + (f"the checkpoint of step {saved.step} is kept; " if saved else "")
        + "try a lower --learning_rate, --clip_norm, or --precision float32"
    )

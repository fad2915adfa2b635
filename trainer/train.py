"""The train stage: build the run, fit the model, save and publish it."""

import contextlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from components.base import artifacts, console, local_files
from components.base.errors import Stopped, WorkError
from components.data.prepared_dataset import PreparedDataset
from components.model.corruption import parse_corruption
from components.model.registry import MODEL_FILE
from trainer import build, diagnosis, extension, precision_choice
from trainer.build import HELDOUT_SPLIT, Devices, TrainingRun
from trainer.config import RunOptions, TrainConfig
from trainer.devices.collectives import HostCollectives
from trainer.devices.hosts import host
from trainer.recording.chief_recorder import ChiefRecorder
from trainer.recording.heldout import HeldoutEvaluation
from trainer.recording.hparams import HParamsRow
from trainer.recording.recorder import NoRecorder, Position, Recorder
from trainer.signals import deferred_signals
from trainer.train_counts import TrainCounts


def train(
    plan: artifacts.ArtifactPlan,
    config: TrainConfig,
    options: RunOptions,
    examples: PreparedDataset,
    *,
    overwrite: bool,
    extends: bool = False,
) -> None:
    """Trains a model and publishes it; resumes an earlier run that was interrupted.

    With several hosts, each of them calls this function. Only the chief writes files.

    Args:
      plan: where to publish the model, and what it depends on.
      config: settings of the model and its training.
      options: options that do not change the result.
      examples: the prepared dataset.
      overwrite: replace an artifact or a draft of another config.
      extends: continue the published model, which has fewer epochs.

    Raises:
      ConfigError: the draft is unfinished work of another config, or this host lacks the devices
        or the memory.
      WorkError: the loss became NaN or infinite, a shard is damaged, or another host was lost.
      Stopped: SIGTERM or Ctrl-C; the work so far is saved.
    """
    with _explain_lost_host():
        # Before the draft is created: a mistake in the config leaves none behind.
        devices = build.devices_for(config, examples)
        if host().is_chief:
            # The model that is extended differs from the plan: publishing replaces it.
            with plan.publish(resume=True, overwrite=overwrite, rebuild=extends) as draft:
                if extends:
                    extension.copy_states(draft.path, plan)
                devices = precision_choice.with_precision(devices, config, examples, draft.path)
                row = HParamsRow(
                    draft.path / "tensorboard", {"dataset": examples.name, **plan.config}
                )
                _train_as_chief(draft, config, options, examples, devices, row)
        else:
            devices = precision_choice.with_precision(devices, config, examples)
            run = build.build_run(
                config, examples, devices=devices, cache_bytes=options.cache_bytes
            )
            _fit(run, NoRecorder())


@contextlib.contextmanager
def _explain_lost_host() -> Iterator[None]:
    """Raises a WorkError of one line when a collective operation fails for lack of a host."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError) as error:
        if host().count == 1:
            raise
        reason = str(error.message).partition("\n")[0]
        raise WorkError(
            f"another host was lost ({reason}); correct that and run the same command again on all "
            "hosts: they resume from the last checkpoint"
        ) from None


def _train_as_chief(
    draft: artifacts.Draft,
    config: TrainConfig,
    options: RunOptions,
    examples: PreparedDataset,
    devices: Devices,
    row: HParamsRow,
) -> None:
    """Builds the run, fits the model and saves it, all in the draft directory."""
    run = build.build_run(config, examples, devices=devices, cache_bytes=options.cache_bytes)
    _announce(run)
    heldout, heldout_images = None, None
    if HELDOUT_SPLIT in examples.splits:
        head = examples.head(HELDOUT_SPLIT, config.heldout_examples)
        heldout_images = head.images
        heldout = HeldoutEvaluation(
            run.model,
            heldout_images,
            head.labels,
            seed=config.seed,
            corruption=parse_corruption(config.corruption),
        )
    with ChiefRecorder(
        run,
        draft.path,
        heldout=heldout,
        options=options,
        fingerprint=extension.state_fingerprint(config, examples),
    ) as recorder:
        if recorder.position.step == 0:
            extension.remove_record(draft.path)
        _fit(run, recorder)
    kept, weights = recorder.select_model(run.loop.state_arrays())
    recorder.delete_unpublished_checkpoints()
    row.finish(kept)
    with local_files.written_locally(draft.path / MODEL_FILE) as model_file:
        run.model.in_float32(weights).save(str(model_file))
    found = [
        finding.text
        for finding in (
            *diagnosis.image_findings(examples, build.TRAIN_SPLIT),
            *diagnosis.findings(
                kept,
                history=recorder.history,
                constant_elbo=diagnosis.baseline_elbo(
                    run.model.family, examples, build.TRAIN_SPLIT, heldout_images
                ),
                warmup_steps=run.warmup_steps,
                beta=config.beta,
            ),
        )
    ]
    for note in found:
        console.warn(note)
    draft.notes = [
        *examples.artifact.manifest.notes,
        *extension.notes(draft.path, epochs=config.epochs),
        *found,
    ]
    draft.counts = TrainCounts(
        parameters=run.model.count_params(),
        steps=recorder.history[-1].step,
        precision=run.devices.precision,
        devices=run.devices.kinds,
        hosts=host().count,
        kept=kept,
        final=recorder.history[-1],
        measured=run.devices.measured,
    ).as_json()


def _announce(run: TrainingRun) -> None:
    replicas = run.devices.strategy.num_replicas_in_sync
    console.say(
        f"train: {run.model.count_params():,} parameters, {replicas} x {run.devices.kinds[0]}, "
        f"{run.devices.precision}, {console.counted(run.config.epochs, 'epoch')} of "
        f"{console.counted(run.batches.steps_per_epoch, 'step')}, examples "
        f"{'in memory' if run.batches.is_in_memory else 'streamed from the shards'}"
    )
    if run.devices.measured is not None:
        console.say(
            f"train: a step takes {precision_choice.describe(run.devices.measured)} on this machine"
        )
    if run.warmup_steps < run.config.warmup_steps:
        console.say(
            f"train: {console.counted(run.warmup_steps, 'warm-up step')} instead of "
            f"{run.config.warmup_steps:,}, "
            f"since the run has {run.total_steps:,} steps (warmup_share "
            f"{run.config.warmup_share:g})"
        )


def _fit(run: TrainingRun, recorder: Recorder) -> None:
    """Trains until the last epoch, or until the recorder stops the run early.

    All hosts run this function in lockstep: they start from the chief's state, and every decision
    that changes the course of the run is taken together.
    """
    loop, batches = run.loop, run.batches
    hosts = HostCollectives(run.devices.strategy)
    position = _synchronize_start(run, recorder, hosts)
    with contextlib.closing(batches), deferred_signals() as stop, recorder.profiler as profiler:
        while position.step < run.total_steps:
            if hosts.any(recorder.should_stop_early()):
                break
            steps_before = position.step % batches.steps_per_epoch
            # A call never crosses the end of an epoch, where the model is evaluated.
            steps_left = batches.steps_per_epoch - steps_before
            num_steps = min(loop.step_config.steps_per_call, steps_left)
            with profiler.call(num_steps):
                step_sums = loop.run(num_steps).astype(np.float64)
            _check_losses(step_sums, position.step, recorder)
            sums = position.epoch_sums + step_sums.sum(axis=0)
            position = Position(position.step + num_steps, sums)
            seen_before = batches.num_seen(steps_before)
            seen = batches.num_seen(steps_before + num_steps)
            recorder.record_steps(position.step, num_examples=seen - seen_before, means=sums / seen)
            is_stopping = hosts.any(stop.is_pending)
            if num_steps == steps_left:
                position = Position(position.step, np.zeros(2))
                state = _checked_state(run, position.step, recorder)
                recorder.record_epoch(position, state, means=sums / seen)
            elif recorder.needs_checkpoint(is_stopping=is_stopping):
                recorder.save_checkpoint(position, _checked_state(run, position.step, recorder))
            # After the last step there is nothing to resume: the run ends as usual.
            if is_stopping and position.step < run.total_steps:
                raise Stopped(
                    f"{stop.signal_name or 'another host'}: stopped at step {position.step}; "
                    "run the same command again to continue"
                )
        # The chief is the last to get here, since it evaluates. A host that left earlier would end
        # the others with an error.
        hosts.barrier()


def _synchronize_start(run: TrainingRun, recorder: Recorder, hosts: HostCollectives) -> Position:
    """Sets the state of every host to the chief's, and returns the chief's position."""
    arrays = run.loop.state_arrays() | {"epoch_sums": recorder.position.epoch_sums}
    arrays = hosts.broadcast_from_chief(arrays)
    epoch_sums = arrays.pop("epoch_sums")
    run.loop.restore(arrays)
    return Position(int(arrays["step"]), epoch_sums)


def _check_losses(step_sums: np.ndarray, first_step: int, recorder: Recorder) -> None:
    """Checks that the losses of a call are finite.

    Args:
      step_sums: rate and distortion of each step's batch, in nats, shape [steps, 2].
      first_step: number of steps done before the call.
      recorder: knows the last checkpoint.

    Raises:
      WorkError: the loss of a step is NaN or infinite.
    """
    bad_steps = np.flatnonzero(~np.isfinite(step_sums).all(axis=1))
    if bad_steps.size:
        raise _not_finite("the loss is", first_step + int(bad_steps[0]) + 1, recorder)


def _checked_state(run: TrainingRun, step: int, recorder: Recorder) -> dict[str, np.ndarray]:
    """The training state by name, all of it finite.

    The losses do not show this: the last update follows the measurement of its step's loss.

    Raises:
      WorkError: an element of the state is NaN or infinite.
    """
    state = run.loop.state_arrays()
    if not all(np.isfinite(array).all() for array in state.values()):
        raise _not_finite("the training state is", step, recorder)
    return state


def _not_finite(subject: str, step: int, recorder: Recorder) -> WorkError:
    saved_step = recorder.last_saved_step()
    kept = "" if saved_step is None else f"the checkpoint of step {saved_step} is kept; "
    return WorkError(
        f"{subject} not finite at step {step}; {kept}"
        "try a lower --learning_rate, --clip_norm, or --precision float32"
    )

"""The train stage, up to the point where it needs TensorFlow."""

import dataclasses

from etils import epath

from components.base import artifacts, console, tensorflow_setup
from components.base.manifest import Artifact, Input, load_artifact
from components.data.prepared_dataset import PreparedDataset
from components.model.registry import MODEL_FILE
from trainer import extension, tracking
from trainer.config import RunOptions, TrainConfig
from trainer.devices.hosts import host
from trainer.precision_record import PRECISION_FILE
from trainer.train_counts import TrainCounts


def run(
    preset: str,
    config: TrainConfig,
    *,
    examples: epath.PathLike,
    output: epath.PathLike,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
    overwrite: bool = False,
    verify: bool = False,
    extend: bool = False,
) -> bool:
    """Trains a model on a prepared dataset, unless the output is up to date.

    With several hosts (TF_CONFIG), each of them calls this function. Only the chief writes files.

    Args:
      preset: name of the preset, for the manifest.
      config: settings of the model and its training.
      examples: directory of the prepared dataset.
      output: directory to write the model to.
      options: options that do not change the result.
      overwrite: replace a different or damaged artifact in `output`.
      verify: read all files of a model that is up to date, to check their content.
      extend: continue the finished model in `output`, which has fewer epochs.

    Returns:
      Whether a model was trained; False if the output was up to date.

    Raises:
      ConfigError: `examples` is not an artifact of prepare or lacks the labels that the config asks
        for, `output` holds a different artifact or one that cannot be extended, or TF_CONFIG is
        malformed.
      WorkError: the training failed.
      Stopped: SIGTERM or Ctrl-C; the work so far is saved, and the same call continues it.
    """
    is_chief = host().is_chief  # First, so that a malformed TF_CONFIG is reported at once.
    dataset = PreparedDataset.open(examples)
    config.classes(dataset.class_names)  # Refuses a dataset without the labels that it needs.
    is_trained = run_on(
        dataset,
        preset,
        config,
        source=dataset.artifact.as_input(),
        output=output,
        options=options,
        overwrite=overwrite,
        verify=verify,
        extend=extend,
    )
    if is_trained and is_chief:
        console.say(f"train: {_outcome(load_artifact(output, stage='train'))} ({output})")
    return is_trained


def run_on(
    dataset: PreparedDataset,
    preset: str,
    config: TrainConfig,
    *,
    source: Input,
    output: epath.PathLike,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
    overwrite: bool = False,
    verify: bool = False,
    extend: bool = False,
) -> bool:
    """Does the work of `run` on an open dataset.

    Args:
      dataset: the prepared dataset.
      preset, config, output, options, overwrite, verify, extend: see `run`.
      source: the dataset as the manifest of the model describes it.

    Returns:
      Whether a model was trained; False if the output was up to date.
    """
    plan = artifacts.ArtifactPlan(
        stage="train",
        directory=epath.Path(output),
        config={"preset": preset, **dataclasses.asdict(config)},
        inputs={"examples": source},
        # These files contain times, or how the run came about. The checkpoints and metrics.jsonl
        # identify the result.
        volatile_prefixes=(MODEL_FILE, "tensorboard/", extension.EXTENDED_FILE, PRECISION_FILE),
        is_writer=host().is_chief,
    )
    extends = extension.is_requested(plan, extend=extend, overwrite=overwrite)
    if not extends and plan.is_up_to_date(overwrite=overwrite, verify=verify):
        console.say(f"train: up to date ({output})")
        _track(options, output)
        return False
    console.say(f"train: preset {preset} on {dataset.name}")
    tensorflow_setup.load()  # Takes seconds, so not before it is needed.
    from trainer.train import train

    train(plan, config, options, dataset, overwrite=overwrite, extends=extends)
    _track(options, output)
    return True


def _track(options: RunOptions, output: epath.PathLike) -> None:
    """Adds the model to the tracker that the options name; of several hosts, the chief does."""
    if host().is_chief:
        tracking.track(options.tracker, output)


def _outcome(artifact: Artifact) -> str:
    counts = artifact.counts(TrainCounts)
    outcome = f"final train loss {counts.final.train['loss']:z.2f} nats"
    if counts.kept.heldout is None:
        return outcome
    elbo = f"held-out ELBO {-counts.kept.heldout['loss']:z.2f} nats"
    return f"{outcome}; kept epoch {counts.kept.epoch}, {elbo}"


def dry_run(config: TrainConfig, options: RunOptions, *, examples: epath.PathLike) -> str:
    """Describes what a run would need, without training.

    Raises:
      ConfigError: as `run` does.
    """
    dataset = PreparedDataset.open(examples)
    config.classes(dataset.class_names)
    tensorflow_setup.load()
    from trainer.dry_run import describe

    return describe(config, options, dataset)

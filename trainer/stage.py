"""The train stage up to the point where TensorFlow is needed: what is asked, and is it done?"""

import dataclasses

from etils import epath

from components.base import artifacts, console, tensorflow_setup
from components.data.prepared_dataset import PreparedDataset
from trainer.config import RunOptions, TrainConfig
from trainer.devices.hosts import host


def run(
    preset: str,
    config: TrainConfig,
    *,
    examples: epath.PathLike,
    output: epath.PathLike,
    options: RunOptions = RunOptions(),  # noqa: B008 - frozen
    overwrite: bool = False,
) -> None:
    """Trains on the artifact in `examples`, unless `output` is up to date already.

    Of several hosts (TF_CONFIG), all call this, and the chief alone writes.

    Raises:
      ConfigError: `examples` is no artifact of prepare, `output` holds other work, or TF_CONFIG is
        wrong.
      WorkError: training failed.
      Stopped: a signal came; the work so far is saved, the same call goes on.
    """
    is_chief = host().is_chief  # A wrong TF_CONFIG is told before anything is read.
    example_set = PreparedDataset.open(examples)
    plan = artifacts.ArtifactPlan(
        stage="train",
        directory=epath.Path(output),
        config={"preset": preset, **dataclasses.asdict(config)},
        inputs={"examples": example_set.artifact.as_input()},
        # The last checkpoint and metrics.jsonl say what was learnt; these hold times besides.
        volatile=("model.keras", "tensorboard/"),
    )
    if plan.is_done(overwrite=overwrite):
        console.say(f"train: up to date ({output})")
    else:
        console.say(f"train: preset {preset} on {example_set.dataset}")
        tensorflow_setup.load()  # Takes seconds: not before it is needed.
        from trainer.train import train

        train(plan, config, options, example_set, overwrite=overwrite)
        if is_chief:
            console.say(f"train: {_outcome(artifacts.load(output, stage='train'))} ({output})")


def _outcome(artifact: artifacts.Artifact) -> str:
    final, kept = (artifact.manifest["counts"][name] for name in ("final", "kept"))
    outcome = f"final train loss {final['train']['loss']:.2f} nats"
    if kept["heldout"] is None:
        return outcome
    elbo = f"held-out ELBO {-kept['heldout']['loss']:.2f} nats"
    return f"{outcome}; kept epoch {kept['epoch']}, {elbo}"


def dry_run(config: TrainConfig, options: RunOptions, *, examples: epath.PathLike) -> str:
    """What a run would take, as text. Raises ConfigError as `run` does."""
    example_set = PreparedDataset.open(examples)
    tensorflow_setup.load()
    from trainer.dry_run import describe

    return describe(config, options, example_set)

"""The train stage up to the point where TensorFlow is needed: what is asked, and is it done?"""

import dataclasses

from etils import epath

from components import artifacts, console
from components.example_set import ExampleSet
from trainer.config import TrainConfig


def run(
    preset: str,
    config: TrainConfig,
    *,
    examples: epath.PathLike,
    output: epath.PathLike,
    overwrite: bool = False,
) -> artifacts.Artifact:
    """Trains on the artifact in `examples`, unless `output` is up to date already.

    Raises:
      ConfigError: `examples` is no artifact of prepare, or `output` holds other work.
      WorkError: training failed.
      Stopped: a signal came; the work so far is saved, the same call goes on.
    """
    example_set = ExampleSet.open(examples)
    plan = artifacts.Plan(
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
        console.load_tensorflow()  # Takes seconds: not before it is needed.
        from trainer.train import train

        train(plan, config, example_set, overwrite=overwrite)
        console.say(f"train: {_outcome(artifacts.load(output, stage='train'))} ({output})")
    return artifacts.load(output, stage="train")


def _outcome(artifact: artifacts.Artifact) -> str:
    final = artifact.manifest["counts"]["final"]
    outcome = f"final train loss {final['train']['loss']:.2f}"
    if final["heldout"] is None:
        return f"{outcome} nats"
    return f"{outcome}, held-out ELBO {-final['heldout']['loss']:.2f} nats"

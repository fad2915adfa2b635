"""Extending a finished model: `--extend` continues it from its last checkpoint for more epochs.

Only the remaining epochs are trained. The finished model stays in place until the longer run is
complete, and replaces it.
"""

import dataclasses
import json
from typing import Any

from etils import epath

from components.base import artifacts, earlier_versions, json_types
from components.base.artifacts import ArtifactPlan
from components.base.errors import ConfigError, WorkError
from components.base.manifest import (
    Artifact,
    differences,
    fingerprint,
    identity,
    read_manifest,
)
from components.data.prepared_dataset import PreparedDataset
from trainer import precision_record
from trainer.config import TrainConfig
from trainer.train_counts import TrainCounts

# The files that the longer run continues. The newest checkpoint is copied last, so a draft with a
# checkpoint is complete.
_NEWEST_CHECKPOINT = "checkpoints/step-"
_COPIED = ("metrics.jsonl", "tensorboard/", "checkpoints/best.ckpt", _NEWEST_CHECKPOINT)

# The output of a run that records which runs it extends.
EXTENDED_FILE = "extended.json"
_MAX_EXTENDED_BYTES = 64 << 10


def is_requested(plan: ArtifactPlan, *, extend: bool, overwrite: bool) -> bool:
    """Whether a run is to extend the model in the directory of its plan.

    Args:
      plan: the work of the run. The directory of a host that is not its writer may be empty.
      extend: whether the user asks for it.
      overwrite: whether the user asks to replace the model instead.

    Raises:
      ConfigError: the user asks to extend a model that cannot be extended, or does not ask although
        it can.
    """
    if extend and overwrite:
        raise ConfigError("--extend continues a model and --overwrite replaces it; leave one out")
    plan.recover_replacement()
    model = _published(plan)
    if model is not None and _can_extend(model, plan):
        if not extend and not overwrite:
            raise ConfigError(
                f"{plan.directory} holds a different artifact: {_differences(model, plan)}; choose "
                "a new directory, replace the artifact with --overwrite, or continue it: "
                f"python -m trainer ... --epochs {plan.config['epochs']} --extend"
            )
        return extend
    if not extend or not plan.is_writer:
        return False
    if model is None:
        raise ConfigError(
            f"{plan.directory} holds no finished model to extend; to train one, leave out --extend"
        )
    if differing := _differences(model, plan):
        raise ConfigError(
            f"{plan.directory} cannot be extended: {differing}; --extend only raises epochs: give "
            "the other settings as they are, or choose a new directory"
        )
    return False  # It has been extended already.


def copy_states(draft: epath.Path, plan: ArtifactPlan) -> None:
    """Copies what a longer run continues into its draft, unless the draft has a checkpoint already.

    Args:
      draft: the locked draft directory of the longer run.
      plan: the work of the longer run.

    Raises:
      WorkError: a file of the finished model is missing or damaged, or another process has replaced
        the model.
    """
    model = _published(plan)
    if model is None or not _can_extend(model, plan):
        raise WorkError(
            f"another process has just replaced {plan.directory}; run the same command again"
        )
    if list((draft / "checkpoints").glob("step-*.ckpt")):
        return
    model.check_sizes()
    counts = model.counts(TrainCounts)
    if plan.config["precision"] == "auto":
        record = precision_record.PrecisionRecord(counts.precision, counts.measured)
        precision_record.write(draft, record)
    names = [name for name in model.manifest.outputs if name.startswith(_COPIED)]
    with artifacts.atomic_write(draft / EXTENDED_FILE) as temporary:
        epochs = [*_extended_epochs(model.path), model.setting("epochs", int)]
        temporary.write_text(json.dumps(epochs) + "\n")
    for name in sorted(names, key=lambda name: name.startswith(_NEWEST_CHECKPOINT)):
        source, target = model.verified(name), draft / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with artifacts.atomic_write(target) as temporary:
            source.copy(temporary)


def notes(draft: epath.Path, *, epochs: int) -> list[str]:
    """A note for the manifest of a run that extends others.

    Args:
      draft: the draft directory of the run.
      epochs: number of epochs of the run, as its config says.
    """
    if not (parts := _extended_epochs(draft)):
        return []
    later = ", then ".join(map(str, [*parts[1:], epochs]))
    return [
        f"planned for {parts[0]} epochs, then extended to {later}: each part has the learning rate "
        "and the beta of a run of its length"
    ]


def state_fingerprint(config: TrainConfig, examples: PreparedDataset) -> str:
    """Digest of all that determines the states of a run, except its number of epochs.

    A longer run continues the states of a shorter one. Settings that reproduce earlier versions are
    left out, so that a version with more settings can continue these runs.

    Args:
      config: settings of the run.
      examples: the prepared dataset.
    """
    settings = earlier_versions.without_earlier("train", dataclasses.asdict(config))
    del settings["epochs"]
    return fingerprint({"config": settings, "examples": examples.artifact.fingerprint})


def remove_record(draft: epath.Path) -> None:
    """Removes the record of an extension from the draft of a run that restarts at step 0."""
    (draft / EXTENDED_FILE).unlink(missing_ok=True)


def _published(plan: ArtifactPlan) -> Artifact | None:
    """The artifact in the directory of a plan; None if there is none."""
    manifest = read_manifest(plan.directory)
    return None if manifest is None else Artifact(plan.directory, manifest)


def _can_extend(model: Artifact, plan: ArtifactPlan) -> bool:
    """Whether a model differs from a plan only in that it has fewer epochs."""
    existing, requested = model.identity(), _identity(plan)
    epochs = existing.get("epochs")
    same_but_epochs = existing | {"epochs": requested["epochs"]} == requested
    return same_but_epochs and isinstance(epochs, int) and epochs < requested["epochs"]


def _differences(model: Artifact, plan: ArtifactPlan) -> str:
    return "; ".join(differences(model.identity(), _identity(plan)))


def _identity(plan: ArtifactPlan) -> dict[str, Any]:
    fingerprints = {name: value.fingerprint for name, value in plan.inputs.items()}
    return identity(stage=plan.stage, config=plan.config, fingerprints=fingerprints)


def _extended_epochs(directory: epath.Path) -> list[int]:
    """The numbers of epochs of the runs that the run in a directory extends, in order.

    Raises:
      WorkError: the file that lists them is damaged.
    """
    path = directory / EXTENDED_FILE
    if not path.exists():
        return []
    try:
        return json_types.parse(list[int], json_types.load(path, max_bytes=_MAX_EXTENDED_BYTES))
    except ValueError as error:
        raise WorkError(
            f"{path} is damaged: {error}; restore the file, or train again with --overwrite"
        ) from None

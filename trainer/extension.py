"""Extending a finished model: `--extend` continues it from its last checkpoint for more epochs.

Only the remaining epochs are trained. The finished model stays in place until the longer run is
complete, and replaces it.
"""

import json
from typing import Any

from etils import epath

from components.base import artifacts
from components.base.artifacts import ArtifactPlan
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Artifact, differences, identity, read_manifest

# What the longer run continues. The newest checkpoint is copied last: a draft with a checkpoint has
# all of it.
_NEWEST_CHECKPOINT = "checkpoints/step-"
_COPIED = ("metrics.jsonl", "tensorboard/", "checkpoints/best.ckpt", _NEWEST_CHECKPOINT)

# The output of a run that tells that it extends others.
EXTENDED_FILE = "extended.json"


def is_requested(plan: ArtifactPlan, *, extend: bool, overwrite: bool, is_chief: bool) -> bool:
    """Whether a run is to extend the model in the directory of its plan.

    Args:
      plan: the work of the run.
      extend: whether the user asks for it.
      overwrite: whether the user asks to replace the model instead.
      is_chief: whether this host writes files; the directory of another host may be empty.

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
    if not extend or not is_chief:
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


def fill(draft: epath.Path, plan: ArtifactPlan) -> None:
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
    names = [name for name in model.manifest["outputs"] if name.startswith(_COPIED)]
    with artifacts.atomic_write(draft / EXTENDED_FILE) as temporary:
        epochs = [*_extended_epochs(model.path), model.manifest["config"]["epochs"]]
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
      epochs: number of epochs of the run.
    """
    if not (parts := _extended_epochs(draft)):
        return []
    later = ", then ".join(map(str, [*parts[1:], epochs]))
    return [
        f"trained for {parts[0]} epochs, then extended to {later}: each part has the learning rate "
        "and the beta of a run of its length"
    ]


def forget(draft: epath.Path) -> None:
    """Removes the trace of an extension from the draft of a run that starts at step 0 after all."""
    (draft / EXTENDED_FILE).unlink(missing_ok=True)


def _published(plan: ArtifactPlan) -> Artifact | None:
    """The artifact in the directory of a plan; None if there is none."""
    manifest = read_manifest(plan.directory)
    return None if manifest is None else Artifact(plan.directory, manifest)


def _can_extend(model: Artifact, plan: ArtifactPlan) -> bool:
    """Whether a model differs from a plan only in that it has fewer epochs."""
    existing, requested = model.identity(), _identity(plan)
    same_but_epochs = existing | {"epochs": requested["epochs"]} == requested
    return same_but_epochs and existing["epochs"] < requested["epochs"]


def _differences(model: Artifact, plan: ArtifactPlan) -> str:
    return "; ".join(differences(model.identity(), _identity(plan)))


def _identity(plan: ArtifactPlan) -> dict[str, Any]:
    fingerprints = {name: value.fingerprint for name, value in plan.inputs.items()}
    return identity(stage=plan.stage, config=plan.config, fingerprints=fingerprints)


def _extended_epochs(directory: epath.Path) -> list[int]:
    """The numbers of epochs of the runs that the run in a directory extends, in order."""
    path = directory / EXTENDED_FILE
    return json.loads(path.read_text()) if path.exists() else []

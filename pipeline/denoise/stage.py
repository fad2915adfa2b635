"""The denoise stage: from noisy images to image files without noise."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from components.base import artifacts, console, files
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Artifact, load_artifact
from components.model import model_file
from components.model.corruption import NO_CORRUPTION
from components.model.registry import MODEL_FILE
from pipeline.apply import engine, inputs
from pipeline.beam import handshake
from pipeline.denoise.config import DenoiseConfig
from pipeline.denoise.image_files import IMAGES, DenoisedFiles

_STAGE = "denoise"


def denoise(
    config: DenoiseConfig = DenoiseConfig(),  # noqa: B008 - frozen
    *,
    model: epath.PathLike,
    pattern: str,
    output: epath.PathLike,
    uncertainty: bool = False,
    source_options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    verify: bool = False,
    beam_args: Sequence[str] = (),
) -> Artifact:
    """Denoises images, unless they are up to date.

    Args:
      config: the settings.
      model: directory of a trained model.
      pattern: the directory of a prepared dataset; a path of its shards, with the wildcards * and
        ?; or what the option --dataset of prepare takes, whose images are not scaled.
      output: directory to publish the images in.
      uncertainty: whether to write images of the uncertainty.
      source_options: fields of `PrepareConfig` that say how to read a source.
      overwrite: whether to replace another or a damaged artifact in `output`, or unfinished work.
      verify: whether to read all files of an artifact that is up to date, to check their content.
      beam_args: options of Beam.

    Raises:
      ConfigError: there is no such input, `model` is not an artifact of train, was trained on
        images of another shape or is conditional, `output` holds something else, or a job service
        or its workers cannot do the work.
      WorkError: a file is empty or damaged, or an id cannot be the name of a file.
    """
    trained = load_artifact(model, stage="train")
    _check_unconditional(trained)
    images = inputs.find(
        pattern, trained, source_options=source_options or {}, stage=_STAGE, scales=False
    )
    plan = artifacts.ArtifactPlan(
        stage=_STAGE,
        directory=epath.Path(output),
        config={**images.config, **dataclasses.asdict(config), "uncertainty": uncertainty},
        inputs={"model": trained.as_input(), **images.inputs},
    )
    if plan.is_up_to_date(overwrite=overwrite, verify=verify):
        console.say(f"{_STAGE}: up to date ({output})")
        return load_artifact(output, stage=_STAGE)
    handshake.check_workers(beam_args)
    notes = _notes(trained)
    for note in notes:
        console.warn(note)
    with plan.publish(resume=True, overwrite=overwrite) as draft:
        image_set = images.open(draft.path, beam_args)
        console.say(
            f"{_STAGE}: denoising the images of {console.counted(len(image_set.tasks), 'shard')}"
        )
        rows = engine.apply(
            image_set.tasks,
            DenoisedFiles(config, uncertainty),
            model=trained,
            stage=_STAGE,
            verb="denoised",
            beam_args=beam_args,
        )
        images.finish(draft.path)
        _check_files(draft.path, rows)
        draft.counts = {"images": rows, **image_set.ledger(rows)}
        draft.notes = notes
    image_set.warn_of_quarantine(output, lacking="denoised image")
    console.say(f"{_STAGE}: {console.counted(rows, 'image')} in {epath.Path(output, IMAGES)}")
    return load_artifact(output, stage=_STAGE)


def _check_unconditional(model: Artifact) -> None:
    """Raises ConfigError for a conditional model: noisy images have no labels."""
    if model_file.num_classes(model.verified(MODEL_FILE)):
        raise ConfigError(
            f"{model.path} is conditioned on labels, which noisy images do not have; choose a "
            "model that was trained with condition none"
        )


def _notes(model: Artifact) -> list[str]:
    """Notes for readers of the images."""
    config = model.manifest.config
    settings = (config.get(name, NO_CORRUPTION) for name in ("corruption", "noise_model"))
    if any(value != NO_CORRUPTION for value in settings):
        return []
    return [
        f"{model.path} was trained on clean images alone, so its images are reconstructions; train "
        "a model to denoise with --preset denoise, or with --corruption or --noise_model"
    ]


def _check_files(directory: epath.Path, rows: int) -> None:
    """Checks that each example has a file of its own.

    Raises:
      WorkError: two have the same name.
    """
    found = len(files.leaves(directory / IMAGES))
    if found != rows:
        raise WorkError(
            f"{rows:,} images have only {found:,} different names, and none was published; denoise "
            "the shards of one dataset at a time"
        )

"""The embed stage: from images to tables of their embeddings."""

from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from components.base import artifacts, console, tensorflow_setup
from components.base.errors import ConfigError
from components.base.manifest import Artifact, Input, load_artifact
from components.data import training_examples
from components.data.prepared_dataset import PreparedDataset
from components.model import model_file
from components.model.registry import MODEL_FILE
from pipeline.apply import engine, inputs
from pipeline.apply.inputs import ImageSet
from pipeline.beam import handshake
from pipeline.embed import reference
from pipeline.embed.config import EmbedConfig
from pipeline.embed.embedding_tables import REFERENCE_COLUMNS, SCORE_COLUMNS, EmbeddingTables
from pipeline.embed.reference import Reference


def embed(
    config: EmbedConfig = EmbedConfig(),  # noqa: B008 - frozen
    *,
    model: epath.PathLike,
    pattern: str,
    output: epath.PathLike,
    source_options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    verify: bool = False,
    beam_args: Sequence[str] = (),
) -> Artifact:
    """Embeds images, unless their embeddings are up to date.

    Args:
      config: the settings.
      model: directory of a trained model.
      pattern: the directory of a prepared dataset; a path of its shards, with the wildcards * and
        ?; or what the option --dataset of prepare takes.
      output: directory to publish the tables in, one for each shard.
      source_options: fields of `PrepareConfig` that say how to read a source.
      overwrite: whether to replace another or a damaged artifact in `output`, or unfinished work.
      verify: whether to read all files of an artifact that is up to date, to check their content.
      beam_args: options of Beam.

    Raises:
      ConfigError: there is no such input, `model` is not an artifact of train, was trained on
        images of another shape or is conditioned on other labels, `output` holds something else, or
        a job service or its workers cannot do the work.
      WorkError: a file is empty or damaged, or its records were not written by prepare.
    """
    trained = load_artifact(model, stage="train")
    images = inputs.find(pattern, trained, source_options=source_options or {})
    columns = config.column_names
    training_set = None
    if REFERENCE_COLUMNS & set(columns):
        training_set = training_examples.find(trained, config.training_examples)
    plan = artifacts.ArtifactPlan(
        stage="embed",
        directory=epath.Path(output),
        config={**images.config, "columns": columns, "format": config.format},
        inputs={
            "model": trained.as_input(),
            **images.inputs,
            **_training_input(training_set),
        },
    )
    if plan.is_up_to_date(overwrite=overwrite, verify=verify):
        console.say(f"embed: up to date ({output})")
        return load_artifact(output, stage="embed")
    handshake.check_workers(beam_args)
    notes = _notes(trained, columns, training_set)
    for note in notes:
        console.warn(note)
    with plan.publish(resume=True, overwrite=overwrite) as draft:
        image_set = images.open(draft.path, beam_args)
        _check_classes(trained, image_set, columns)
        tables = EmbeddingTables.of(
            trained,
            columns=columns,
            format=config.format,
            reference=_reference(trained, columns, training_set),
        )
        shards = console.counted(len(image_set.tasks), "shard")
        console.say(f"embed: embedding the images of {shards}")
        rows = engine.apply(
            image_set.tasks,
            tables,
            model=trained,
            stage="embed",
            verb="embedded",
            beam_args=beam_args,
        )
        draft.counts = {
            "rows": rows,
            "shards": {task.stem: task.examples for task in image_set.tasks},
            **image_set.ledger(rows),
        }
        draft.notes = notes
        images.finish(draft.path)
    image_set.warn_of_quarantine(output, lacking="embedding")
    console.say(f"embed: {console.counted(rows, 'row')} in {output}")
    return load_artifact(output, stage="embed")


def _training_input(training_set: PreparedDataset | None) -> dict[str, Input]:
    if training_set is None:
        return {}
    return {"training_examples": training_set.artifact.as_input()}


def _notes(
    model: Artifact, columns: Sequence[str], training_set: PreparedDataset | None
) -> list[str]:
    """Notes for readers of the tables."""
    if training_set is not None or "outlier_score" not in columns:
        return []
    return [
        f"the column outlier_score is empty, because the examples that {model.path} was trained on "
        "are not where its manifest says; pass their directory with --training_examples"
    ]


def _reference(
    model: Artifact, columns: Sequence[str], training_set: PreparedDataset | None
) -> Reference:
    """The data that columns are compared with."""
    if not REFERENCE_COLUMNS & set(columns):
        return Reference()
    path = model.verified(MODEL_FILE)
    tensorflow_setup.load()
    from components.model import vae

    return reference.measure(vae.load(path).in_float32(), training_set)


def _check_classes(model: Artifact, images: ImageSet, columns: Sequence[str]) -> None:
    """Checks that the images have the labels of a conditional model.

    Raises:
      ConfigError: they do not, and a column depends on labels.
    """
    classes = model_file.num_classes(model.path / MODEL_FILE)
    found = 0 if images.class_names is None else len(images.class_names)
    scores = [name for name in columns if name in SCORE_COLUMNS]
    if classes and scores and classes != found:
        known = f"has {found:,}" if found else "has no names of classes"
        raise ConfigError(
            f"{model.path} is conditioned on the labels of {classes:,} classes, but the input "
            f"{known}, so that {', '.join(scores)} are not defined; choose --columns without them"
        )

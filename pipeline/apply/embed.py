"""The embed stage: from TFRecord files of examples to Parquet files of embeddings.

Each TFRecord file is a task for Beam.
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from components.base import artifacts, console, files, tensorflow_setup
from components.base.errors import ConfigError, WorkError
from components.base.manifest import (
    Artifact,
    Input,
    fingerprint,
    load_artifact,
    published_config,
    read_manifest,
)
from components.base.shapes import Shape, format_shape
from components.data import codec, tfds_metadata
from components.data.examples import ExampleBatch
from components.data.prepared_dataset import PreparedDataset
from components.model import embeddings, model_file
from components.model.registry import MODEL_FILE
from pipeline.beam import report_progress


@dataclasses.dataclass(frozen=True)
class EmbedTask:
    """The task of embedding one shard.

    Attributes:
      shard: path of the TFRecord file.
      output: path of the Parquet file to write.
      sha256: SHA-256 digest that the TFRecord file must have, in hexadecimal.
      split: the split that the shard belongs to; None if that is not known.
      class_names: names of the labels, by label; empty if they are not known.
    """

    shard: str
    output: str
    sha256: str
    split: str | None = None
    class_names: tuple[str, ...] = ()


def embed_shards(
    tasks: Sequence[EmbedTask],
    *,
    model: Artifact,
    stage: str = "embed",
    beam_args: Sequence[str] = (),
) -> None:
    """Embeds shards with a trained model, and displays the progress.

    Args:
      tasks: the shards; their Parquet files are in one directory.
      model: the artifact of the train stage.
      stage: name of the calling stage, for the lines of a log.
      beam_args: options of Beam.

    Raises:
      WorkError: a shard is empty or damaged, or its records were not written by prepare.
    """
    from pipeline.beam import launch

    outputs = [epath.Path(task.output) for task in tasks]
    names = {path.name for path in outputs}
    work = report_progress.Work(
        label="embedding",
        unit="shards",
        total=len(tasks),
        count=lambda path: {"shards": int(path.name in names)},
        line=lambda sums: f"{stage}: embedded {sums['shards']:,} of {len(tasks):,} shards",
    )
    with report_progress.shown(work, outputs[0].parent, "*.parquet"):
        launch.run_tasks(
            tasks,
            embed_shard,
            str(model.path / MODEL_FILE),
            model.output(MODEL_FILE).sha256,
            beam_args=beam_args,
        )


def embed_shard(task: EmbedTask, model: str, model_sha256: str) -> dict[str, int]:
    """Writes the embeddings of the examples in a shard.

    Args:
      task: the shard.
      model: path of the `.keras` file.
      model_sha256: SHA-256 digest of that file, in hexadecimal.

    Returns:
      The counter `embedded`: the number of examples.

    Raises:
      WorkError: the shard is empty or damaged, or its records were not written by prepare; or the
        shard or the model is another file than that of the digest.
    """
    vae = _load(model, model_sha256)
    from components.model.encode import encode

    batches = list(codec.read_batches(task.shard, vae.image_shape, sha256=task.sha256))
    if not batches:
        raise WorkError(f"{task.shard} holds no examples; exclude it from --input")
    examples = ExampleBatch.concatenate(batches)
    means, log_variances = encode(vae, examples.images)
    rows = embeddings.Embeddings(examples.ids, examples.labels, means, log_variances)
    embeddings.write(rows, task.output, split=task.split, class_names=task.class_names)
    return {"embedded": len(examples)}


@functools.lru_cache(maxsize=1)
def _load(model: str, sha256: str) -> Any:
    """The model of a `.keras` file with a digest, loaded once per process."""
    path = epath.Path(model)
    if files.sha256(path) != sha256:
        raise files.content_error(path)
    tensorflow_setup.load()
    from components.model import vae

    return vae.load(model)


def embed(
    *,
    model: epath.PathLike,
    pattern: str,
    output: epath.PathLike,
    overwrite: bool = False,
    verify: bool = False,
    beam_args: Sequence[str] = (),
) -> Artifact:
    """Embeds the examples in TFRecord files, unless their embeddings are up to date.

    Args:
      model: directory of a trained model.
      pattern: path of the TFRecord files, with the wildcards * and ?; or the directory of a
        prepared dataset, for all of its shards.
      output: directory to publish the Parquet files in, one for each TFRecord file.
      overwrite: whether to replace another or a damaged artifact in `output`.
      verify: whether to read all files of an artifact that is up to date, to check their content.
      beam_args: options of Beam.

    Raises:
      ConfigError: no file matches, `model` is not an artifact of train or was trained on images of
        another shape, or `output` holds something else.
      WorkError: a file is empty or damaged, or its records were not written by prepare.
    """
    trained = load_artifact(model, stage="train")
    shards = _find_shards(pattern)
    trained.verified(MODEL_FILE)
    digests = {path: files.sha256(path) for path in shards}
    datasets = {path: _check_directory(path, trained) for path in {p.parent for p in shards}}
    plan = artifacts.ArtifactPlan(
        stage="embed",
        directory=epath.Path(output),
        config={"files": [path.name for path in shards]},
        inputs={"model": trained.as_input(), "shards": _input(digests)},
    )
    if plan.is_up_to_date(overwrite=overwrite, verify=verify):
        console.say(f"embed: up to date ({output})")
        return load_artifact(output, stage="embed")
    console.say(f"embed: reading {console.counted(len(shards), 'TFRecord file')}")
    with plan.publish(overwrite=overwrite) as draft:
        embed_shards(
            [
                _task(path, draft.path, datasets[path.parent], sha256=digests[path])
                for path in shards
            ],
            model=trained,
            beam_args=beam_args,
        )
        draft.counts = {"files": len(shards)}
    console.say(f"embed: done ({output})")
    return load_artifact(output, stage="embed")


def check_image_shape(model: Artifact, shape: Shape, *, where: epath.Path) -> None:
    """Checks that a model was trained on images of a shape.

    Args:
      model: the artifact of the train stage.
      shape: (height, width, channels) of the images.
      where: directory of the images.

    Raises:
      ConfigError: it was trained on another shape; the message names both.
    """
    expected = model_file.image_shape(model.verified(MODEL_FILE))
    if shape != expected:
        raise ConfigError(
            f"{model.path} was trained on {format_shape(expected)} images, but those in {where} "
            f"are {format_shape(shape)} (height x width x channels); choose a model that was "
            "trained on that shape, or prepare the images with --image_size and --channels"
        )


def _find_shards(pattern: str) -> list[epath.Path]:
    """The TFRecord files that match a pattern, sorted by path.

    A directory stands for all TFRecord files in it.

    Raises:
      ConfigError: no file matches, or several files have the same name.
    """
    if epath.Path(pattern).is_dir():
        pattern = f"{pattern.rstrip('/')}/*"
    matches = files.expand_pattern(pattern)
    shards = sorted(path for path in matches if ".tfrecord" in path.name)
    if not shards:
        raise ConfigError(f"no TFRecord file matches --input {pattern!r}; {_advice(matches)}")
    repeated = [name for name, count in Counter(path.name for path in shards).items() if count > 1]
    if repeated:
        raise ConfigError(
            f"--input {pattern!r} matches several files named {repeated[0]}; embed the files of "
            "one directory at a time"
        )
    return shards


def _check_directory(directory: epath.Path, model: Artifact) -> PreparedDataset | None:
    """Checks that the shards in a directory are complete, and that a model can read them.

    Returns:
      The prepared dataset; None if the directory has no manifest, as a copy of some shards.

    Raises:
      ConfigError: the model was trained on images of another shape.
      WorkError: a file of a prepared dataset is missing or truncated.
    """
    if published_config(directory):
        dataset = PreparedDataset.open(directory)
        check_image_shape(model, dataset.image_shape, where=directory)
        return dataset
    shape = tfds_metadata.read_image_shape(directory)
    if shape is None:
        expected = format_shape(model_file.image_shape(model.verified(MODEL_FILE)))
        console.warn(
            f"{directory} has neither a manifest nor a features.json, so the images are taken to "
            f"be {expected}, as those of the model"
        )
    else:
        check_image_shape(model, shape, where=directory)
    return None


def _task(
    shard: epath.Path, output: epath.Path, dataset: PreparedDataset | None, *, sha256: str
) -> EmbedTask:
    """The task of embedding a shard, with what its dataset says of it, if that is known.

    Args:
      shard: the TFRecord file.
      output: the directory to write to.
      dataset: the prepared dataset that the shard belongs to.
      sha256: SHA-256 digest of the shard as it is.
    """
    path = str(output / parquet_name(shard.name))
    if dataset is None:
        return EmbedTask(str(shard), path, sha256)
    if record := dataset.artifact.manifest.outputs.get(shard.name):
        sha256 = record.sha256
    splits = {count.file: split for split in dataset.splits for count in dataset.shards[split]}
    return EmbedTask(str(shard), path, sha256, splits.get(shard.name), tuple(dataset.class_names))


def _advice(matches: Sequence[epath.Path]) -> str:
    """What to pass as --input, from the paths that match it, none of which is a TFRecord file."""
    for path in sorted(matches):
        if (manifest := read_manifest(path)) and manifest.stage == "prepare":
            return f"did you mean --input {path}?"
    if matches:
        return (
            "pass the directory of a prepared dataset; `python -m pipeline prepare` makes one of "
            "images"
        )
    return "pass the directory of a prepared dataset, or a pattern in quotes"


def parquet_name(shard: str) -> str:
    """The name of a shard's Parquet file: `x-test.tfrecord-0-of-1` -> `x-test-0-of-1.parquet`."""
    return shard.replace(".tfrecord", "") + ".parquet"


def _input(digests: Mapping[epath.Path, str]) -> Input:
    first = next(iter(digests))
    return Input(first.parent, fingerprint({path.name: each for path, each in digests.items()}))

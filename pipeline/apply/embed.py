"""The embed stage: from TFRecord files of examples to Parquet files of embeddings.

Each TFRecord file is a task for Beam.
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from etils import epath

from components.base import artifacts, console, files, tensorflow_setup
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Artifact, Input, fingerprint, load_artifact, published_config
from components.data import codec
from components.data.examples import ExampleBatch
from components.model import embeddings
from components.model.network_registry import MODEL_FILE
from pipeline.beam import report_progress


@dataclasses.dataclass(frozen=True)
class EmbedTask:
    """The task of embedding one shard.

    Attributes:
      shard: path of the TFRecord file.
      output: path of the Parquet file to write.
    """

    shard: str
    output: str


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
            tasks, embed_shard, str(model.path / MODEL_FILE), model.fingerprint, beam_args=beam_args
        )


def embed_shard(task: EmbedTask, model: str, fingerprint: str) -> dict[str, int]:
    """Writes the embeddings of the examples in a shard.

    Args:
      task: the shard.
      model: path of the `.keras` file.
      fingerprint: the model's fingerprint, by which a worker knows that it has loaded this model.

    Returns:
      The counter `embedded`: the number of examples.

    Raises:
      WorkError: the shard is empty or damaged, or its records were not written by prepare.
    """
    vae = _load(model, fingerprint)
    from components.model.encode import encode

    batches = list(codec.read_batches(task.shard, vae.image_shape))
    if not batches:
        raise WorkError(f"{task.shard} holds no examples; exclude it from --input")
    examples = ExampleBatch.concatenate(batches)
    means, log_variances = encode(vae, examples.images)
    rows = embeddings.Embeddings(examples.ids, examples.labels, means, log_variances)
    embeddings.write(rows, task.output)
    return {"embedded": len(examples)}


@functools.lru_cache(maxsize=1)
def _load(model: str, fingerprint: str) -> Any:
    """The model of a `.keras` file, loaded once per process."""
    # Part of the cache's key: another model may have been written to the same path.
    del fingerprint
    tensorflow_setup.load()
    from components.model import vae

    return vae.load(model)


def embed(
    *,
    model: epath.PathLike,
    pattern: str,
    output: epath.PathLike,
    overwrite: bool = False,
    beam_args: Sequence[str] = (),
) -> Artifact:
    """Embeds the examples in TFRecord files, unless their embeddings are up to date.

    Args:
      model: directory of a trained model.
      pattern: path of the TFRecord files, with the wildcards * and ?.
      output: directory to publish the Parquet files in, one for each TFRecord file.
      overwrite: whether to replace another or a damaged artifact in `output`.
      beam_args: options of Beam.

    Raises:
      ConfigError: no file matches, `model` is not an artifact of train, or `output` holds
        something else.
      WorkError: a file is empty or damaged, or its records were not written by prepare.
    """
    trained = load_artifact(model, stage="train")
    directory, shards = _find_shards(pattern)
    trained.verified(MODEL_FILE)
    plan = artifacts.ArtifactPlan(
        stage="embed",
        directory=epath.Path(output),
        config={"files": [path.name for path in shards]},
        inputs={"model": trained.as_input(), "shards": _input(directory, shards)},
    )
    if plan.is_up_to_date(overwrite=overwrite):
        console.say(f"embed: up to date ({output})")
        return load_artifact(output, stage="embed")
    console.say(f"embed: reading {console.counted(len(shards), 'TFRecord file')}")
    with plan.publish(overwrite=overwrite) as draft:
        embed_shards(
            [EmbedTask(str(path), str(draft.path / parquet_name(path.name))) for path in shards],
            model=trained,
            beam_args=beam_args,
        )
        draft.counts = {"files": len(shards)}
    console.say(f"embed: done ({output})")
    return load_artifact(output, stage="embed")


def _find_shards(pattern: str) -> tuple[epath.Path, list[epath.Path]]:
    """The directory of a pattern, and the TFRecord files that match.

    Raises:
      ConfigError: no file matches, or several files have the same name.
      WorkError: a file in the directory of a prepared dataset is missing or truncated.
    """
    parent, _, name_pattern = pattern.rpartition("/")
    directory = epath.Path(parent or ".")
    shards = sorted(path for path in directory.glob(name_pattern) if ".tfrecord" in path.name)
    if not shards:
        raise ConfigError(f"no TFRecord file matches --input {pattern!r}")
    repeated = [name for name, count in Counter(path.name for path in shards).items() if count > 1]
    if repeated:
        raise ConfigError(
            f"--input {pattern!r} matches several files named {repeated[0]}; embed the files of "
            "one directory at a time"
        )
    for folder in {path.parent for path in shards}:
        if published_config(folder):
            # Checks the sizes, which reveals a shard that was truncated between two records.
            load_artifact(folder, stage="prepare")
    return directory, shards


def parquet_name(shard: str) -> str:
    """The name of a shard's Parquet file: `x-test.tfrecord-0-of-1` -> `x-test-0-of-1.parquet`."""
    return shard.replace(".tfrecord", "") + ".parquet"


def _input(folder: epath.Path, shards: Sequence[epath.Path]) -> Input:
    return Input(folder, fingerprint({path.name: files.sha256(path) for path in shards}))

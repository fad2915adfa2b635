"""The embed stage: shards of examples to Parquet files of embeddings, with a Beam pipeline."""

from collections.abc import Sequence

from etils import epath

from components.base import artifacts, console, files
from components.base.errors import ConfigError


def embed_shards(
    tasks: Sequence[tuple[str, str]], *, model: epath.PathLike, beam_args: Sequence[str] = ()
) -> None:
    """Embeds shards, given as (TFRecord file, Parquet file); these are there when it returns."""
    import apache_beam as beam

    from pipeline.beam import launch, transforms

    with launch.pipeline(beam_args) as p:
        _ = p | beam.Create(tasks) | transforms.EmbedShards(model)


def embed(
    *,
    model: epath.PathLike,
    pattern: str,
    output: epath.PathLike,
    overwrite: bool = False,
    beam_args: Sequence[str] = (),
) -> artifacts.Artifact:
    """Embeds every TFRecord file that `pattern` matches, one Parquet file each.

    Raises:
      ConfigError: nothing matches, `model` is no artifact of train, or `output` holds other work.
      WorkError: a file is damaged or holds other records than prepare writes.
    """
    trained = artifacts.load(model, stage="train")
    folder_name, _, name = pattern.rpartition("/")
    directory = epath.Path(folder_name or ".")
    sources = sorted(path for path in directory.glob(name) if ".tfrecord" in path.name)
    if not sources:
        raise ConfigError(f"no TFRecord file matches --input {pattern!r}")
    names = [path.name for path in sources]
    if len(set(names)) < len(names):
        twin = next(name for name in names if names.count(name) > 1)
        raise ConfigError(
            f"--input {pattern!r} matches several files named {twin}; embed one folder"
        )
    for folder in {path.parent for path in sources}:
        if artifacts.published_config(folder):
            # Finds shards that were cut between records.
            artifacts.load(folder, stage="prepare")
    trained.verified("model.keras")
    plan = artifacts.ArtifactPlan(
        stage="embed",
        directory=epath.Path(output),
        config={"files": names},
        inputs={"model": trained.as_input(), "shards": _input(directory, sources)},
    )
    if plan.is_done(overwrite=overwrite):
        console.say(f"embed: up to date ({output})")
        return artifacts.load(output, stage="embed")
    console.say(f"embed: reading {len(sources)} TFRecord files")
    with plan.publish(overwrite=overwrite) as draft:
        embed_shards(
            [(str(path), str(draft.path / parquet_name(path.name))) for path in sources],
            model=model,
            beam_args=beam_args,
        )
        draft.counts = {"files": len(sources)}
    console.say(f"embed: done ({output})")
    return artifacts.load(output, stage="embed")


def parquet_name(shard: str) -> str:
    """fashion_mnist-test.tfrecord-00000-of-00001 -> fashion_mnist-test-00000-of-00001.parquet."""
    return shard.replace(".tfrecord", "") + ".parquet"


def _input(folder: epath.Path, shards: Sequence[epath.Path]) -> artifacts.Input:
    return artifacts.Input(
        folder, artifacts.fingerprint({path.name: files.sha256(path) for path in shards})
    )

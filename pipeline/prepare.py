"""The prepare stage: images of any source to checked, sharded TFRecords, with a Beam pipeline."""

import collections
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from etils import epath

from components import artifacts, console, examples, sources
from components.errors import WorkError
from components.sources import catalog
from components.sources.base import Source
from pipeline.config import PrepareConfig

QUARANTINE = "quarantine/quarantine.jsonl"
_SHARDS = "shards.jsonl"


def prepare(
    config: PrepareConfig,
    *,
    output: epath.PathLike,
    overwrite: bool = False,
    beam_args: Sequence[str] = (),
) -> examples.ExampleSet:
    """Prepares `config.dataset` in `output`, unless that is up to date already.

    Raises:
      ConfigError: no such dataset, or `output` holds something else.
      WorkError: the dataset cannot be had, is damaged, or no image of it can be used.
    """
    source, notes = sources.resolve(
        config.dataset if overwrite else _dataset(config.dataset, output),
        data_dir=config.data_dir,
        size=config.synthetic_size,
        seed=config.synthetic_seed,
    )
    for note in notes:
        console.warn(note)
    plan = artifacts.Plan(
        stage="prepare",
        directory=epath.Path(output),
        config={
            "dataset": source.name,
            **source.settings,
            "validation_fraction": config.validation_fraction,
            "shard_bytes": config.shard_bytes,
        },
        inputs={"source": source.input},
    )
    if plan.is_done(overwrite=overwrite):
        standing = examples.ExampleSet.open(output)
        for note in standing.artifact.manifest["notes"]:
            console.warn(note)
        console.say(f"prepare: up to date ({output})")
        return standing
    console.say(f"prepare: reading {source.name}")
    with plan.publish(overwrite=overwrite) as draft:
        _run_pipeline(source, config, draft.path, beam_args)
        draft.counts = _finish(source, draft.path)
        draft.notes = notes
    prepared = examples.ExampleSet.open(output)
    console.say(f"prepare: {examples.description(prepared)}")
    if rejected := prepared.artifact.manifest["counts"]["quarantined"]:
        console.warn(
            f"{rejected:,} inputs were set aside; reasons: {epath.Path(output, QUARANTINE)}"
        )
    return prepared


def _dataset(asked: str, output: epath.PathLike) -> str:
    """The dataset to prepare: `auto` stays with what it was when `output` was made."""
    standing = artifacts.standing_config(output).get("dataset")
    return standing if asked == catalog.AUTO and standing in catalog.AUTO_CHOICES else asked


def _run_pipeline(
    source: Source,
    config: PrepareConfig,
    directory: epath.Path,
    beam_args: Sequence[str],
) -> None:
    import apache_beam as beam

    from pipeline import runners, transforms

    has_validation = "validation" in source.num_examples
    assignment = transforms.Assignment(
        # A validation split of the source's own is left as it is.
        validation_fraction=0.0 if has_validation else config.validation_fraction,
        shard_bytes=config.shard_bytes,
    )
    with runners.pipeline(beam_args) as p:
        read = p | "Slices" >> beam.Create(source.slices()) | transforms.ReadSlices(source)
        census = beam.pvalue.AsSingleton(read.blocks | transforms.TakeCensus())
        checked = read.blocks | "Check" >> beam.ParDo(transforms.KeepShape(), census).with_outputs(
            "rejected", main="blocks"
        )
        _ = (
            checked.blocks
            | "Assign" >> beam.FlatMap(assignment.split, census)
            | beam.GroupByKey()
            | "Write" >> beam.ParDo(transforms.WriteShard(directory, source.name))
            | "Shards" >> transforms.WriteRows(directory / _SHARDS)
        )
        _ = (
            (read.rejected, checked.rejected)
            | beam.Flatten()
            | "Row" >> beam.Map(dataclasses.asdict)
            | "Quarantine" >> transforms.WriteRows(directory / QUARANTINE)
        )


def _finish(source: Source, directory: epath.Path) -> dict[str, Any]:
    """Writes the TFDS metadata; returns the manifest's counts, checked against the inputs."""
    rows = _read_rows(directory / _SHARDS)
    rejected = _read_rows(directory / QUARANTINE)
    (directory / _SHARDS).unlink()
    inputs = sum(source.num_examples.values())
    if not rows:
        raise WorkError(
            f"no usable image in {source.name}: all {inputs:,} inputs were rejected, the first "
            f"because: {rejected[0]['reason'] if rejected else 'it is empty'}"
        )
    kept = sum(row["examples"] for row in rows)
    if kept + len(rejected) != inputs:
        raise WorkError(
            f"{source.name} says it has {inputs:,} examples, but {kept:,} were kept and "
            f"{len(rejected):,} rejected; its files and its dataset_info.json disagree"
        )
    shards: dict[str, list[dict[str, Any]]] = {}
    for split in examples.SPLITS:
        if members := [row for row in rows if row["split"] == split]:
            shards[split] = sorted(members, key=lambda row: row["file"])
            if len(members) != members[0]["num_shards"]:
                raise WorkError(f"chance left a shard of {split} empty; use other --shard_bytes")
    shape = rows[0]["image_shape"]
    examples.write_tfds_metadata(
        directory,
        dataset=source.name,
        image_shape=tuple(shape),
        class_names=source.class_names,
        shards=shards,
    )
    labels: dict[str, collections.Counter[str]] = {}
    for row in rows:
        labels.setdefault(row["split"], collections.Counter()).update(row["labels"])
    return {
        "inputs": inputs,
        "kept": kept,
        "quarantined": len(rejected),
        "image_shape": shape,
        "class_names": source.class_names,
        "examples": {s: sum(row["examples"] for row in rows) for s, rows in shards.items()},
        "examples_by_label": {
            split: [counts[str(label)] for label in range(len(source.class_names))]
            for split, counts in labels.items()
        },
        "shards": {
            split: [{"file": row["file"], "examples": row["examples"]} for row in rows]
            for split, rows in shards.items()
        },
    }


def _read_rows(path: epath.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]

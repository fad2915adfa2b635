"""What prepare writes beside the shards: statistics, contact sheets, and TFDS's own files."""

import itertools
import json
from typing import Any

import numpy as np
from etils import epath

from components.base import artifacts, files
from components.base.shapes import Shape
from components.data import codec, prepared_dataset
from components.data.examples import ExampleBatch
from components.ingest import contact_sheet, statistics
from components.ingest.statistics import Statistics
from components.sources.source import Source
from pipeline.prepare.messages import WriteReport

STATISTICS = "statistics.json"
_SHEET_BYTES = 32 << 20


def describe(
    source: Source, written: list[WriteReport], counts: dict[str, Any], directory: epath.Path
) -> None:
    """Writes what describes the shards: statistics, contact sheets, and TFDS's own files."""
    height, width, channels = counts["image_shape"]
    names = source.class_names
    counted = {split: Statistics.empty(channels, len(names)) for split in counts["shards"]}
    for shard in written:
        counted[shard.split].merge(shard.statistics)
    sizes = {
        split: {s["file"]: files.status(directory / s["file"]).size for s in shards}
        for split, shards in counts["shards"].items()
    }
    described = statistics.describe(counted, class_names=names, bytes_by_shard=sizes)
    with artifacts.atomic_write(directory / STATISTICS) as temporary:
        temporary.write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")
    for split, shards in counts["shards"].items():
        contact_sheet.draw(
            directory / f"contact_sheet-{split}.png",
            _first_of_each_class(
                [directory / shard["file"] for shard in shards],
                (height, width, channels),
                num_classes=len(names),
            ),
            title=f"{source.name}, {split}",
            class_names=names,
            counts=counted[split].labels,
        )
    prepared_dataset.write_tfds_metadata(
        directory,
        dataset=source.name,
        image_shape=(height, width, channels),
        class_names=names,
        shards={
            split: [
                {**shard, "bytes": shard["examples"] * height * width * channels}
                for shard in shards
            ]
            for split, shards in counts["shards"].items()
        },
    )


def _first_of_each_class(
    shards: list[epath.Path], shape: Shape, *, num_classes: int
) -> ExampleBatch:
    """The examples that a contact sheet shows, from the beginning of the shards."""
    per_class = contact_sheet.examples_per_class(num_classes)
    chosen: list[ExampleBatch] = []
    read = 0
    for block in itertools.chain.from_iterable(codec.read_batches(p, shape) for p in shards):
        rows = contact_sheet.choose(block.labels, num_classes=num_classes, per_class=per_class)
        chosen.append(block.take(np.sort(np.concatenate(rows))))
        read += block.images.nbytes
        met = np.bincount(np.concatenate([b.labels for b in chosen]), minlength=num_classes)
        if read >= _SHEET_BYTES or met.min() >= per_class:
            break
    return ExampleBatch.concatenate(chosen)

"""The files that describe the shards: statistics, contact sheets, and the metadata for TFDS."""

import itertools
import json
from collections.abc import Iterable, Sequence

import numpy as np
from etils import epath

from components.base import artifacts, files
from components.base.shapes import Shape
from components.data import codec, tfds_metadata
from components.data.dataset_counts import DatasetCounts
from components.data.examples import ExampleBatch
from components.ingest import contact_sheet, statistics
from components.ingest.statistics import Statistics
from pipeline.prepare.messages import WriteReport

STATISTICS = "statistics.json"
# Limit on the pixels read to find examples of every class for a contact sheet, in bytes.
_MAX_SHEET_BYTES = 32 << 20


def write_sidecars(
    directory: epath.Path, dataset: str, counts: DatasetCounts, reports: Sequence[WriteReport]
) -> list[str]:
    """Writes the statistics, the contact sheets and the metadata for TFDS.

    Args:
      directory: directory of the shards.
      dataset: name of the dataset.
      counts: the counts for the manifest.
      reports: the reports of all shards.

    Returns:
      The findings about the pixels, from `components.ingest.statistics.findings`.
    """
    statistics_by_split = _statistics_by_split(counts, reports)
    _write_statistics(directory, counts, statistics_by_split)
    for split, shards in counts.shards.items():
        contact_sheet.draw(
            directory / f"contact_sheet-{split}.png",
            _sheet_examples(
                [directory / shard.file for shard in shards],
                counts.image_shape,
                num_classes=len(counts.class_names),
            ),
            title=f"{dataset}, {split}",
            class_names=counts.class_names,
            counts=statistics_by_split[split].labels,
        )
    tfds_metadata.write_tfds_metadata(
        directory,
        dataset=dataset,
        image_shape=counts.image_shape,
        class_names=counts.class_names,
        shards=counts.shards,
    )
    return statistics.findings(statistics_by_split)


def _statistics_by_split(
    counts: DatasetCounts, reports: Iterable[WriteReport]
) -> dict[str, Statistics]:
    """The statistics of each split."""
    totals = {
        split: Statistics.empty(counts.image_shape[-1], len(counts.class_names))
        for split in counts.shards
    }
    for report in reports:
        totals[report.split].merge(report.statistics)
    return totals


def _write_statistics(
    directory: epath.Path, counts: DatasetCounts, statistics_by_split: dict[str, Statistics]
) -> None:
    sizes = {
        split: {shard.file: files.stat(directory / shard.file).size for shard in shards}
        for split, shards in counts.shards.items()
    }
    summary = statistics.describe(
        statistics_by_split, class_names=counts.class_names, bytes_by_shard=sizes
    )
    with artifacts.atomic_write(directory / STATISTICS) as temporary:
        temporary.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")


def _sheet_examples(shards: list[epath.Path], shape: Shape, *, num_classes: int) -> ExampleBatch:
    """The examples for a contact sheet, from the beginning of the shards.

    Reads until every class has enough examples; a rare class may get fewer.
    """
    per_class = contact_sheet.examples_per_class(num_classes)
    chosen: list[ExampleBatch] = []
    num_bytes = 0
    batches = (codec.read_batches(path, shape) for path in shards)
    for batch in itertools.chain.from_iterable(batches):
        rows = contact_sheet.choose(batch.labels, num_classes=num_classes, per_class=per_class)
        chosen.append(batch.take(np.sort(np.concatenate(rows))))
        num_bytes += batch.images.nbytes
        labels = np.concatenate([part.labels for part in chosen])
        class_counts = np.bincount(labels, minlength=num_classes)
        if num_bytes >= _MAX_SHEET_BYTES or class_counts.min() >= per_class:
            break
    return ExampleBatch.concatenate(chosen)

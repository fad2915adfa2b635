"""Writes restored images: a folder of PNG files, or a prepared dataset."""

import collections
from collections.abc import Iterator, Sequence

import numpy as np
from etils import epath
from PIL import Image

from components.base import artifacts, files
from components.base.errors import WorkError
from components.base.shapes import Shape
from components.data import codec, tfds_metadata
from components.data.dataset_counts import DatasetCounts, DuplicateCounts, ShardCount
from components.data.examples import SPLITS, ExampleBatch
from pipeline.compress.index import FolderIndex, ShardsIndex, given_ids

_EXAMPLES_PER_WRITE = 1000


def write_folder(index: FolderIndex, images: Iterator[np.ndarray | None], to: epath.Path) -> None:
    """Writes images as PNG files.

    Args:
      index: their names.
      images: in order, uint8, shape [height, width, channels]; None for one that is lost.
      to: the directory.
    """
    for name, image in zip(index.names, images, strict=True):
        if image is None:
            continue
        path = to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = image[..., 0] if image.shape[-1] == 1 else image
        with path.open("wb") as file:
            Image.fromarray(pixels).save(file, "PNG", optimize=True)


def write_shards(
    index: ShardsIndex, images: Iterator[np.ndarray | None], shape: Shape, to: epath.Path
) -> DatasetCounts:
    """Writes a prepared dataset: its shards, and the files of TFDS.

    Args:
      index: the examples without their images.
      images: in order, as in `write_folder`.
      shape: (height, width, channels) of the images.
      to: the directory.

    Returns:
      The counts for its manifest.

    Raises:
      WorkError: a shard without lost images differs from the one that was compressed.
    """
    first = 0
    shards: dict[str, list[ShardCount]] = collections.defaultdict(list)
    labels: dict[str, list[int]] = collections.defaultdict(list)
    for entry in index.shards:
        rows = slice(first, first + entry.examples)
        first += entry.examples
        ids = given_ids(index.ids[rows], is_by_hash=entry.is_by_hash)
        examples = zip(ids, index.labels[rows], images, strict=False)
        kept = _write_shard(examples, to / entry.file)
        if len(kept) == entry.examples and files.sha256(to / entry.file) != entry.sha256:
            raise WorkError(
                f"{entry.file} has other bytes than the shard that was compressed; nothing was "
                "published; please report this bug"
            )
        if kept:
            shards[entry.split].append(ShardCount(entry.file, len(kept)))
            labels[entry.split] += kept
        else:
            (to / entry.file).unlink()
    ordered = {split: shards[split] for split in SPLITS if split in shards}
    names = index.class_names or _numbered(index.labels)
    if ordered:
        tfds_metadata.write_tfds_metadata(
            to, dataset=index.dataset, image_shape=shape, class_names=names, shards=ordered
        )
    kept_count = sum(map(len, labels.values()))
    return DatasetCounts(
        inputs=kept_count,
        kept=kept_count,
        quarantined=0,
        ledger={},
        image_shape=shape,
        class_names=names,
        examples={split: len(labels[split]) for split in ordered},
        examples_by_label={
            split: np.bincount(labels[split], minlength=len(names)).tolist() for split in ordered
        },
        shards=ordered,
        duplicates=DuplicateCounts(0, {}),
        rest="",
    )


def _write_shard(examples: Iterator[tuple[str, int, np.ndarray | None]], path: epath.Path):
    """Writes the examples that are not lost, and returns their labels."""
    labels: list[int] = []
    with artifacts.atomic_write(path) as temporary, temporary.open("wb") as file:
        for batch in _batches(examples):
            file.write(codec.encode(batch))
            labels += batch.labels.tolist()
    return labels


def _batches(examples: Iterator[tuple[str, int, np.ndarray | None]]) -> Iterator[ExampleBatch]:
    parts: list[tuple[str, int, np.ndarray]] = []
    for example_id, label, image in examples:
        if image is not None:
            parts.append((example_id, label, image))
        if len(parts) == _EXAMPLES_PER_WRITE:
            yield _batch(parts)
            parts = []
    if parts:
        yield _batch(parts)


def _batch(parts: Sequence[tuple[str, int, np.ndarray]]) -> ExampleBatch:
    ids, labels, images = zip(*parts, strict=True)
    return ExampleBatch(list(ids), np.stack(images), np.array(labels, np.int64))


def _numbered(labels: Sequence[int]) -> list[str]:
    """Names for labels that have none: their numbers."""
    return [str(label) for label in range(max(labels, default=0) + 1)]

"""Writes arrays in memory as a prepared dataset, to train on them.

Like prepare, it sorts the examples by a hash of their ids, so that the first ones are a random
sample. Unlike prepare, it writes only what training reads: one shard for each split, without
statistics, contact sheets or metadata for TFDS. Duplicates are kept.
"""

import math
from collections.abc import Mapping

import numpy as np
from etils import epath

from components.base.artifacts import ArtifactPlan
from components.base.shapes import Shape
from components.data import codec
from components.data.dataset_counts import DatasetCounts, DuplicateCounts, ShardCount
from components.data.examples import ExampleBatch, hash_ids
from components.data.prepared_dataset import PreparedDataset

_NAME = "arrays"
_BLOCK_BYTES = 1 << 20  # of images that are encoded at once


def write(
    directory: epath.PathLike,
    splits: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    num_classes: int,
) -> PreparedDataset:
    """Writes arrays as a prepared dataset. Equal arrays give equal bytes.

    Args:
      directory: directory to publish the dataset in, which must not exist.
      splits: by name of the split, its images, uint8 [N, height, width, channels], N > 0; and
        their labels, integers [N], at least 0 and below `num_classes`. All images have one shape.
      num_classes: number of classes; their names are their numbers.
    """
    plan = ArtifactPlan(
        stage="prepare", directory=epath.Path(directory), config={"dataset": _NAME}, inputs={}
    )
    sizes = {split: len(images) for split, (images, _) in splits.items()}
    height, width, channels = next(iter(splits.values()))[0].shape[1:]
    image_shape: Shape = (height, width, channels)
    with plan.publish() as draft:
        shards = {
            split: [_write_shard(draft.path / f"{_NAME}-{split}.tfrecord", split, images, labels)]
            for split, (images, labels) in splits.items()
        }
        draft.counts = DatasetCounts(
            inputs=sum(sizes.values()),
            kept=sum(sizes.values()),
            quarantined=0,
            ledger={},
            image_shape=image_shape,
            class_names=list(map(str, range(num_classes))),
            examples=sizes,
            examples_by_label={
                split: np.bincount(labels, minlength=num_classes).tolist()
                for split, (_, labels) in splits.items()
            },
            shards=shards,
            duplicates=DuplicateCounts(images=0, by_splits={}),
            rest="",
        ).as_json()
    return PreparedDataset.open(directory)


def _write_shard(
    path: epath.Path, split: str, images: np.ndarray, labels: np.ndarray
) -> ShardCount:
    ids = [f"{split}-{index:08d}" for index in range(len(images))]
    order = np.argsort(hash_ids(ids), kind="stable")
    size = max(1, _BLOCK_BYTES // math.prod(images.shape[1:]))
    with path.open("wb") as file:
        for first in range(0, len(images), size):
            rows = order[first : first + size]
            batch = ExampleBatch(
                [ids[row] for row in rows], images[rows], labels[rows].astype(np.int64)
            )
            file.write(codec.encode(batch))
    return ShardCount(path.name, len(images))

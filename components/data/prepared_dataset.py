"""Sets of examples: the directory that prepare publishes, and how it is read.

It is a TFDS folder too: `tfds.builder_from_directory` reads it.
"""

import collections
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from components.base import artifacts, files
from components.base.errors import ConfigError
from components.base.shapes import Shape
from components.data import codec
from components.data.examples import SPLITS, ExampleBatch
from components.data.shard_reader import ShardReader, check_count, read_all, readers
from components.data.shuffle import BlockLayout


@dataclasses.dataclass(frozen=True)
class PreparedDataset:
    """A prepared directory: its name, shape, class names and shards.

    Attributes:
      path: the directory.
      dataset: the dataset's name.
      image_shape: (height, width, channels) of every image.
      class_names: the label's names, by label.
      shards: by split, (file name, number of examples) of each shard.
    """

    path: epath.Path
    dataset: str
    image_shape: Shape
    class_names: list[str]
    shards: dict[str, list[tuple[str, int]]]
    artifact: artifacts.Artifact

    @staticmethod
    def open(directory: epath.PathLike) -> "PreparedDataset":
        """Opens what `prepare` published.

        Raises:
          ConfigError: the directory is no finished artifact of the prepare stage.
          WorkError: a shard is missing or cut.
        """
        artifact = artifacts.load(directory, stage="prepare", check_sizes=False)
        counts: dict[str, Any] = dict(artifact.manifest["counts"])
        height, width, channels = counts["image_shape"]
        example_set = PreparedDataset(
            path=artifact.path,
            dataset=artifact.manifest["config"]["dataset"],
            image_shape=(height, width, channels),
            class_names=counts["class_names"],
            shards={
                split: [(shard["file"], shard["examples"]) for shard in shards]
                for split, shards in counts["shards"].items()
            },
            artifact=artifact,
        )
        # First, since it can name the record where a shard is cut; then every other file.
        example_set._check_shards()
        artifact.check_sizes()
        return example_set

    def _check_shards(self) -> None:
        """Reads the shards that have another size than they should, to name the damaged record."""
        for shards in self.shards.values():
            for file, num_examples in shards:
                wanted = self.artifact.manifest["outputs"][file]["bytes"]
                path = self.path / file
                if path.exists() and files.status(path).size != wanted:
                    collections.deque(self._shard_blocks(file, num_examples), maxlen=0)

    @property
    def splits(self) -> list[str]:
        return [split for split in SPLITS if self.shards.get(split)]

    def num_examples(self, split: str) -> int:
        return sum(count for _, count in self.shards.get(split, []))

    def blocks(self, split: str) -> Iterator[ExampleBatch]:
        """A split in the order of its shards, some megabytes at a time, each record checked.

        Raises:
          ConfigError: there is no such split.
          WorkError: a shard is damaged; names the file and the record.
        """
        for shard in self._shards(split):
            yield from self._shard_blocks(*shard)

    def read(self, split: str) -> ExampleBatch:
        """A whole split, in memory, in the order of its shards. Raises what `blocks` does."""
        ids: list[str] = []
        images = np.empty((self.num_examples(split), *self.image_shape), np.uint8)
        labels = np.empty(len(images), np.int64)
        for block in self.blocks(split):
            rows = slice(len(ids), len(ids) + len(block))
            images[rows], labels[rows] = block.images, block.labels
            ids += block.ids
        return ExampleBatch(ids, images, labels)

    def images(self, split: str) -> np.ndarray:
        """The images of `read` alone, in less time. Raises what `blocks` does."""
        layout = self.layout(split)
        images = np.empty((layout.num_examples, *self.image_shape), np.uint8)
        read_all(self.shard_files(split, layout), layout, images, readers(self.path))
        return images

    def head(self, split: str, count: int) -> np.ndarray:
        """The first `count` images of a split, or all it has; a random sample, since prepare sorts
        by a hash of the ids. Raises what `blocks` does."""
        parts, left = [], count
        for block in self.blocks(split):
            parts.append(block.images[:left])
            left -= len(parts[-1])
            if not left:
                break
        return np.concatenate(parts)

    def layout(self, split: str, **options: int) -> BlockLayout:
        """The blocks of a split; `options` are those of `Layout`. Raises ConfigError."""
        lengths = [num_examples for _, num_examples in self._shards(split)]
        return BlockLayout(lengths, image_bytes=math.prod(self.image_shape), **options)

    def shard_files(self, split: str, layout: BlockLayout) -> list[ShardReader]:
        """The shards of a split, to be read in the blocks of a layout. Raises ConfigError."""
        return [
            ShardReader(
                self.path / file,
                num_examples,
                image_shape=self.image_shape,
                block_examples=layout.block_examples,
            )
            for file, num_examples in self._shards(split)
        ]

    def _shards(self, split: str) -> list[tuple[str, int]]:
        if split not in self.splits:
            raise ConfigError(
                f"{self.path} has no examples in split {split!r}; it has: {', '.join(self.splits)}"
            )
        return self.shards[split]

    def _shard_blocks(self, file_name: str, num_examples: int) -> Iterator[ExampleBatch]:
        path = self.path / file_name
        count = 0
        for block in codec.read_batches(path, self.image_shape):
            count += len(block)
            if count > num_examples:
                break
            yield block
        check_count(path, count, num_examples)


def shard_name(dataset: str, split: str, shard: int, num_shards: int) -> str:
    """TFDS's grammar of shard names."""
    return f"{dataset}-{split}.tfrecord-{shard:05d}-of-{num_shards:05d}"


def write_tfds_metadata(
    directory: epath.Path,
    *,
    dataset: str,
    image_shape: Shape,
    class_names: list[str],
    shards: dict[str, list[dict[str, Any]]],
) -> None:
    """Writes features.json, dataset_info.json and the label names, as TFDS reads them."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            # Raw bytes: a uint8 tensor without an encoding would be stored as int64s.
            "image": tfds.features.Tensor(
                shape=image_shape, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
            ),
            "label": tfds.features.ClassLabel(names=class_names),
        }
    )
    template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[shard["examples"] for shard in infos],
            num_bytes=sum(shard["bytes"] for shard in infos),
            filename_template=tfds.core.ShardedFileTemplate(
                data_dir=directory,
                template=template,
                dataset_name=dataset,
                split=split,
                filetype_suffix="tfrecord",
            ),
        )
        for split, infos in shards.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=directory,
        features=features,
        split_infos=splits,
        filename_template=template,
        version="1.0.0",
        check_data=False,
    )


def description(example_set: PreparedDataset) -> str:
    """One line for a log: name, counts, shape."""
    counts = ", ".join(f"{example_set.num_examples(s):,} {s}" for s in example_set.splits)
    height, width, channels = example_set.image_shape
    return f"{example_set.dataset}: {counts}, {height}x{width}x{channels}"

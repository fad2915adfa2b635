"""A prepared dataset: the directory of shards that `prepare` publishes, and how to read it.

There are three ways to read, for three purposes:

- Ids, images and labels, in the order of the shards: `PreparedDataset.batches` yields a split in
  batches of about 1 MiB, and `PreparedDataset.read` returns all of it. `codec.read_batches` yields
  the batches of a single shard.
- Images only, for training: `PreparedDataset.images` returns those of a whole split, and
  `StreamedImages` keeps only a part of them in memory. Both use `ShardReader.read_images`, which
  reads any block of a shard and may be called from several threads.
- Any other TFRecord file, for sources: `tfrecord.read_records` yields the payloads one by one,
  unparsed.

The first two read only the records that `prepare` writes, and decode thousands of them at once.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np
from etils import epath

from components.base import files, json_types
from components.base.errors import ConfigError, WorkError
from components.base.manifest import Artifact, Manifest, load_artifact
from components.base.shapes import Shape, format_shape
from components.data import codec
from components.data.dataset_counts import DatasetCounts, ShardCount
from components.data.examples import SPLITS, ExampleBatch
from components.data.shard_reader import (
    ShardReader,
    check_num_records,
    read_all_images,
    reader_pool,
)
from components.data.shuffle import BlockLayout


@dataclasses.dataclass(frozen=True)
class PreparedDataset:
    """A directory that `prepare` published.

    Attributes:
      path: the directory.
      name: the dataset's name.
      counts: the counts in its manifest, with the image shape, the class names and the shards.
      artifact: the directory as an artifact, with its manifest.
    """

    path: epath.Path
    name: str
    counts: DatasetCounts
    artifact: Artifact

    @staticmethod
    def open(directory: epath.PathLike) -> "PreparedDataset":
        """Opens a prepared dataset.

        Raises:
          ConfigError: the directory is not a finished artifact of the prepare stage, or another
            version of this project wrote it.
          WorkError: a shard is missing or truncated.
        """
        artifact = load_artifact(directory, stage="prepare", check_sizes=False)
        manifest = artifact.manifest
        try:
            name = json_types.parse(str, manifest.config.get("dataset"), where="config.dataset")
            counts = json_types.parse(DatasetCounts, manifest.counts, where="counts")
            _check_shard_counts(counts, manifest)
        except ValueError as error:
            raise ConfigError(
                f"{artifact.path} was prepared by another version of this project, or its manifest "
                f"is damaged: {error}; prepare again with --overwrite"
            ) from None
        dataset = PreparedDataset(artifact.path, name, counts, artifact)
        # The shards first: for a truncated shard, this check also names the damaged record.
        dataset._check_shards()
        artifact.check_sizes()
        return dataset

    def _check_shards(self) -> None:
        """Reads each shard whose size differs from the manifest's, to name the damaged record."""
        for shards in self.shards.values():
            for shard in shards:
                expected = self.artifact.output(shard.file).bytes
                path = self.path / shard.file
                if path.exists() and files.stat(path).size != expected:
                    self._read_records(shard)

    @property
    def image_shape(self) -> Shape:
        """(height, width, channels) of every image."""
        return self.counts.image_shape

    @property
    def class_names(self) -> list[str]:
        """The names of the labels, by label."""
        return self.counts.class_names

    @property
    def shards(self) -> dict[str, list[ShardCount]]:
        """The shards of each split, in order."""
        return self.counts.shards

    @property
    def splits(self) -> list[str]:
        """The names of the splits that have examples."""
        return [split for split in SPLITS if self.shards.get(split)]

    def num_examples(self, split: str) -> int:
        """The number of examples in a split; 0 if there is no such split."""
        return sum(shard.examples for shard in self.shards.get(split, []))

    def batches(self, split: str) -> Iterator[ExampleBatch]:
        """Yields a split in the order of its shards, in batches of about 1 MiB.

        Every record is checked; the digest of a shard is known only after its last batch.

        Raises:
          ConfigError: there is no such split.
          WorkError: a shard is damaged, and the message names the file and the record; or it is the
            shard of another run.
        """
        for shard in self._shards(split):
            yield from self._shard_batches(shard)

    def read(self, split: str) -> ExampleBatch:
        """Reads a whole split, in the order of its shards. Raises the errors of `batches`."""
        ids: list[str] = []
        images = np.empty((self.num_examples(split), *self.image_shape), np.uint8)
        labels = np.empty(len(images), np.int64)
        for batch in self.batches(split):
            rows = slice(len(ids), len(ids) + len(batch))
            images[rows], labels[rows] = batch.images, batch.labels
            ids += batch.ids
        return ExampleBatch(ids, images, labels)

    def images(self, split: str) -> np.ndarray:
        """Reads the images of a whole split, uint8 [N, height, width, channels].

        The result equals the images of `read`, in less time. Raises the errors of `batches`.
        """
        layout = self.layout(split)
        images = np.empty((layout.num_examples, *self.image_shape), np.uint8)
        read_all_images(self.shard_readers(split, layout), layout, images, reader_pool(self.path))
        return images

    def labels(self, split: str) -> np.ndarray:
        """Reads the labels of a whole split, int32 [N].

        The result equals the labels of `read`, without holding the images. Raises the errors of
        `batches`.
        """
        return np.concatenate([batch.labels.astype(np.int32) for batch in self.batches(split)])

    def head(self, split: str, count: int) -> ExampleBatch:
        """Reads the first `count` examples of a split, or all of them if it has fewer.

        They are a random sample, because prepare sorts the examples by a hash of their ids. Raises
        the errors of `batches`.
        """
        parts, missing = [], count
        for shard in self._shards(split):
            # First, because the last batch, after which the digest is known, may not be read.
            self._verify(shard)
            for batch in self._shard_batches(shard):
                parts.append(batch.part(0, missing))
                missing -= len(parts[-1])
                if not missing:
                    return ExampleBatch.concatenate(parts)
        return ExampleBatch.concatenate(parts)

    def layout(self, split: str, **options: int) -> BlockLayout:
        """The blocks of a split; `options` are those of `BlockLayout`.

        Raises:
          ConfigError: there is no such split.
        """
        lengths = [shard.examples for shard in self._shards(split)]
        return BlockLayout(lengths, image_bytes=math.prod(self.image_shape), **options)

    def shard_readers(self, split: str, layout: BlockLayout) -> list[ShardReader]:
        """Readers of the shards of a split, by the blocks of a layout.

        Raises:
          ConfigError: there is no such split.
        """
        return [
            ShardReader(
                self.path / shard.file,
                shard.examples,
                image_shape=self.image_shape,
                block_examples=layout.block_examples,
                sha256=self.artifact.output(shard.file).sha256,
            )
            for shard in self._shards(split)
        ]

    def _shards(self, split: str) -> list[ShardCount]:
        if split not in self.splits:
            raise ConfigError(
                f"{self.path} has no examples in split {split!r}; it has: {', '.join(self.splits)}"
            )
        return self.shards[split]

    def _verify(self, shard: ShardCount) -> None:
        """Checks the content of a shard. Raises the errors of `batches`."""
        try:
            self.artifact.verified(shard.file)
        except WorkError:
            self._read_records(shard)
            raise

    def _read_records(self, shard: ShardCount) -> None:
        """Reads a shard that has changed since it was published, to name the damaged record."""
        collections.deque(self._shard_batches(shard, check_digest=False), maxlen=0)

    def _shard_batches(
        self, shard: ShardCount, *, check_digest: bool = True
    ) -> Iterator[ExampleBatch]:
        path = self.path / shard.file
        sha256 = self.artifact.output(shard.file).sha256 if check_digest else None
        num_records = 0
        for batch in codec.read_batches(path, self.image_shape, sha256=sha256):
            num_records += len(batch)
            if num_records > shard.examples:
                break
            if not batch.labels.max() < len(self.class_names):
                raise WorkError(
                    f"{path} has the label {batch.labels.max()}, but the manifest names "
                    f"{len(self.class_names)} classes; prepare again with --overwrite"
                )
            yield batch
        check_num_records(path, num_records, shard.examples)


def _check_shard_counts(counts: DatasetCounts, manifest: Manifest) -> None:
    """Checks that the shards are files of the artifact, and as large as their examples need.

    Raises:
      ValueError: the manifest contradicts itself; the message names the shard.
    """
    pixels = math.prod(counts.image_shape)
    for shard in itertools.chain.from_iterable(counts.shards.values()):
        record = manifest.outputs.get(shard.file)
        if record is None or "/" in shard.file:
            raise ValueError(f"counts.shards has {shard.file[:80]!r}, which is not an output")
        if shard.examples * pixels > record.bytes:
            raise ValueError(
                f"{shard.file} cannot hold {shard.examples:,} examples in {record.bytes:,} bytes"
            )


def description(dataset: PreparedDataset) -> str:
    """One line for a log: the name, the number of examples in each split, the image shape."""
    counts = ", ".join(f"{dataset.num_examples(split):,} {split}" for split in dataset.splits)
    return f"{dataset.name}: {counts}, {format_shape(dataset.image_shape)}"

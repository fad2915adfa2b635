"""The Beam transforms: read, check, split, shard and write examples; embed shards.

Elements are blocks of up to a thousand images, not single images: Beam's cost per element would
otherwise exceed the work.
"""

import collections
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
from etils import epath

from components import artifacts, console, embeddings, examples, records
from components.errors import WorkError
from components.examples import Block
from components.sources.base import Rejected, Slice, Source

Shape = tuple[int, int, int]
ShardKey = tuple[str, int, int]  # (split, shard, number of shards)

# With fewer expected examples a shard, chance would leave some of them empty.
_LEAST_EXAMPLES_A_SHARD = 16


class ReadSlices(beam.PTransform):
    """Slice -> Block, and Rejected under the tag `rejected`."""

    def __init__(self, source: Source):
        super().__init__()
        self._source = source

    def expand(self, slices):
        return (
            slices
            | beam.Reshuffle()
            | beam.ParDo(_Read(self._source)).with_outputs("rejected", main="blocks")
        )


class _Read(beam.DoFn):
    def __init__(self, source: Source):
        self._source = source

    def process(self, part: Slice) -> Iterator[Any]:
        for item in self._source.read(part):
            if isinstance(item, Rejected):
                yield beam.pvalue.TaggedOutput("rejected", item)
            else:
                yield (part.split, item)


@dataclasses.dataclass(frozen=True)
class Census:
    """What a source holds.

    Attributes:
      shape: the shape that most of its images have.
      num_examples: how many have it, by the source's splits.
    """

    shape: Shape
    num_examples: Mapping[str, int]


class TakeCensus(beam.PTransform):
    """(split, Block) -> one Census."""

    def expand(self, blocks):
        return (
            blocks
            | beam.Map(lambda item: ((item[0], item[1].shape), len(item[1])))
            | beam.CombinePerKey(sum)
            | beam.combiners.ToList()
            | beam.Map(_census)
        )


def _census(counts: list[tuple[tuple[str, Shape], int]]) -> Census:
    totals: collections.Counter[Shape] = collections.Counter()
    for (_, shape), count in counts:
        totals[shape] += count
    # Of equally common shapes the largest, so that the answer knows no order.
    common = max(totals, key=lambda shape: (totals[shape], shape), default=(0, 0, 0))
    return Census(common, {split: count for (split, shape), count in counts if shape == common})


class KeepShape(beam.DoFn):
    """Passes blocks of the common shape; the others' examples are rejected one by one."""

    def process(self, item: tuple[str, Block], census: Census) -> Iterator[Any]:
        split, block = item
        if block.shape == census.shape:
            yield item
            return
        wanted, got = ("x".join(map(str, each)) for each in (census.shape, block.shape))
        for example_id in block.ids:
            reason = f"shape {got}, the dataset's is {wanted}"
            yield beam.pvalue.TaggedOutput("rejected", Rejected(example_id, split, reason))


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Which split and shard an example goes to: a function of its id and of the census.

    Attributes:
      validation_fraction: how much of `train` becomes `validation`, by the hash of the id.
      shard_bytes: target size of a shard.
    """

    validation_fraction: float
    shard_bytes: int

    def num_shards(self, split: str, census: Census) -> int:
        train = census.num_examples.get("train", 0)
        expected = {
            **census.num_examples,
            "train": train * (1 - self.validation_fraction),
            "validation": census.num_examples.get("validation", train * self.validation_fraction),
        }[split]
        wanted = math.ceil(expected * math.prod(census.shape) / self.shard_bytes)
        return max(1, min(wanted, int(expected) // _LEAST_EXAMPLES_A_SHARD))

    def split(self, item: tuple[str, Block], census: Census) -> Iterator[tuple[ShardKey, Block]]:
        """Cuts a block of the source's `split` by split and shard."""
        split, block = item
        hashes = hashes_of(block.ids)
        is_validation = np.zeros(len(block), bool)
        if split == "train":
            is_validation = hashes < self.validation_fraction * 2.0**64
        for name, members in ((split, ~is_validation), ("validation", is_validation)):
            rows = np.flatnonzero(members)
            if not rows.size:
                continue
            num_shards = self.num_shards(name, census)
            shards = hashes[rows] % np.uint64(num_shards)
            for shard in np.unique(shards):
                yield (name, int(shard), num_shards), block.take(rows[shards == shard])


def hashes_of(ids: Iterable[str]) -> np.ndarray:
    """A 64-bit hash of each id, uint64; the same everywhere and for ever."""
    digests = b"".join(hashlib.blake2b(each.encode(), digest_size=8).digest() for each in ids)
    return np.frombuffer(digests, "<u8")


class WriteShard(beam.DoFn):
    """(ShardKey, [Block]) -> a row of `shards.json`; the shard's file is written whole."""

    def __init__(self, directory: epath.PathLike, dataset: str):
        self._directory = epath.Path(directory)
        self._dataset = dataset

    def process(self, item: tuple[ShardKey, Iterable[Block]]) -> Iterator[dict[str, Any]]:
        (split, shard, num_shards), blocks = item
        block = sorted_by_hash(Block.concatenate(blocks))
        path = self._directory / examples.shard_name(self._dataset, split, shard, num_shards)
        with artifacts.written_whole(path) as temporary:
            records.write_records(temporary, examples.encode(block))
        yield {
            "split": split,
            "file": path.name,
            "num_shards": num_shards,
            "examples": len(block),
            "bytes": int(block.images.nbytes),
            "image_shape": block.shape,
            "labels": dict(collections.Counter(map(str, block.labels.tolist()))),
        }


def sorted_by_hash(block: Block) -> Block:
    """The block in the order of its ids' hashes: mixed, and the same however it was gathered.

    Raises:
      WorkError: two examples have one id.
    """
    ids = np.array(block.ids)
    order = np.lexsort((ids, hashes_of(block.ids)))
    twins = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if twins.size:
        twin = str(ids[order][twins[0]])
        raise WorkError(f"two examples have the id {twin!r}; ids must differ")
    return block.take(order)


class WriteRows(beam.PTransform):
    """dict -> one file with a JSON object a line, sorted; an empty file if there are none."""

    def __init__(self, path: epath.PathLike):
        super().__init__()
        self._path = epath.Path(path)

    def expand(self, rows):
        return rows | beam.combiners.ToList() | beam.Map(_write_rows, path=self._path)


def _write_rows(rows: list[dict[str, Any]], *, path: epath.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = sorted(json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows)
    with artifacts.written_whole(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines))


class EmbedShards(beam.PTransform):
    """(TFRecord file, Parquet file) -> number of examples. Each worker loads the model once.

    Args:
      model: directory of the train stage's artifact.
    """

    def __init__(self, model: epath.PathLike):
        super().__init__()
        self._model = epath.Path(model)

    def expand(self, tasks):
        return tasks | beam.Reshuffle() | beam.ParDo(_EmbedShard(self._model))


class _EmbedShard(beam.DoFn):
    def __init__(self, model: epath.Path):
        self._path = model / "model.keras"

    def setup(self) -> None:
        console.load_tensorflow()
        from components import vae

        self._vae = vae.load(self._path)

    def process(self, task: tuple[str, str]) -> Iterator[int]:
        from components import metrics

        source, target = task
        block = examples.read_shard(source, self._vae.image_shape)
        means, log_variances = metrics.embed(self._vae, block.images)
        rows = embeddings.Embeddings(block.ids, block.labels, means, log_variances)
        embeddings.write(rows, target)
        yield len(block)

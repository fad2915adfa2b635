"""The rule that assigns examples to splits and shards.

An example's split and shard depend only on the hash of its id. So the same example is in the same
place with every runner and worker, and it stays in its split when the dataset grows.
"""

import dataclasses

from components.ingest.sorted_runs import NUM_HASHES


@dataclasses.dataclass(frozen=True)
class Assignment:
    """The rule that assigns examples to splits and shards by the hashes of their ids.

    Attributes:
      validation_fraction: fraction of `train` that becomes `validation`: the lowest hashes.
      shard_bytes: target size of a shard, in bytes of pixels.
    """

    validation_fraction: float
    shard_bytes: int

    def ranges(self, source_split: str) -> dict[str, tuple[int, int]]:
        """The splits that a split of the source becomes, each with its range of hashes."""
        bound = int(self.validation_fraction * NUM_HASHES)
        if source_split != "train" or not bound:
            return {source_split: (0, NUM_HASHES)}
        return {"train": (bound, NUM_HASHES), "validation": (0, bound)}

    def split_of(self, source_split: str, id_hash: int) -> str:
        """The split of an example, from the source's split and the hash of its id."""
        for split, (low, high) in self.ranges(source_split).items():
            if low <= id_hash < high:
                return split
        raise AssertionError(source_split, id_hash)


@dataclasses.dataclass(frozen=True)
class SplitShards:
    """The shards of a split: equal parts of a range of hashes.

    Attributes:
      split: the split that the shards belong to.
      source_split: the source's split that the examples come from.
      low: the first hash of the range.
      high: the end of the range; at most 2**64.
      number: number of shards.
    """

    split: str
    source_split: str
    low: int
    high: int
    number: int

    @property
    def bounds(self) -> list[int]:
        """The bounds of the shards, with both ends of the range."""
        size = self.high - self.low
        return [self.low + size * shard // self.number for shard in range(self.number + 1)]

"""Sorted runs: the intermediate files between reading a source and writing its shards.

The prepare stage is an external merge sort. A worker reads a part of the source, sorts its examples
by the hash of their ids, and writes them as one or more sorted runs. A shard is a range of hashes:
its writer reads that range from all runs and merges the pieces. So images never pass through Beam,
whose runners hold in memory what they group, and the shards do not depend on which worker read
which part.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from components.base.arithmetic import ceil_div
from components.base.shapes import Shape
from components.data.examples import ExampleBatch, hash_ids
from components.ingest.ledger import InputTally
from components.ingest.run_file import RunRange, damaged, new_run, open_run

NUM_HASHES = 2**64  # The hashes of ids are 0 to NUM_HASHES - 1.
# The most runs that are merged at once: a process may have about a thousand open files.
MAX_MERGED = 256
_DIGEST_BYTES = 16
_MERGED_BYTES = 8 << 20  # Pixels that are merged at once.


@dataclasses.dataclass(frozen=True, slots=True)
class SortedRun:
    """The description of a run: examples of the same split and image shape.

    Attributes:
      file: name of the file.
      slice: number of the slice of the source that the examples come from; of the first one, if
        they come from several.
      split: the source's split.
      shape: (height, width, channels) of the images.
      rows: number of examples.
    """

    file: str
    slice: int
    split: str
    shape: Shape
    rows: int

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "SortedRun":
        """The run whose fields are JSON values."""
        # Very many runs share one split and one shape, so these are in memory only once.
        shared = {"split": sys.intern(value["split"]), "shape": _shape(*value["shape"])}
        return SortedRun(**{**value, **shared})


@functools.lru_cache(maxsize=64)
def _shape(height: int, width: int, channels: int) -> Shape:
    return height, width, channels


def sort_order(hashes: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """Indices that sort examples by hash, and by id among equal hashes: int64, shape [N]."""
    order = np.argsort(hashes, kind="stable")
    # Two ids rarely have the same hash, and sorting strings takes much longer.
    if (hashes[order][1:] == hashes[order][:-1]).any():
        order = np.lexsort((np.array(ids), hashes))
    return order


def write(path: epath.Path, examples: ExampleBatch, hashes: np.ndarray) -> None:
    """Sorts examples and writes them as a run, atomically.

    Args:
      path: the file to write.
      examples: examples of the same shape, in any order.
      hashes: the hashes of their ids, uint64, shape [N].
    """
    order = sort_order(hashes, examples.ids)
    examples = examples.take(order)
    images = examples.images.reshape(len(examples), -1)
    with new_run(path) as run:
        run.add(RunRange(0, hashes[order], _digests(images), examples))


def _digests(images: np.ndarray) -> np.ndarray:
    """The digests of the pixels: uint8, shape [N, image_bytes] -> uint64, shape [N, 2]."""
    digests = [hashlib.blake2b(row.data, digest_size=_DIGEST_BYTES).digest() for row in images]
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)


def verified(path: epath.Path) -> InputTally:
    """Compares all ids and images of a run with their hashes and digests.

    Returns:
      The tally of its examples, which tells whether the labels are right.

    Raises:
      WorkError: the file is missing or damaged.
    """
    tally = InputTally()
    try:
        with open_run(path) as run:
            for keys, ids, images in run.blocks_with_images():
                hashes = hash_ids(ids)
                if (hashes != keys["hash"]).any() or (_digests(images) != keys["digest"]).any():
                    raise damaged(path)
                tally.add(hashes, keys["label"].tolist())
    except UnicodeDecodeError:
        raise damaged(path) from None
    return tally


def merged(
    runs: Sequence[SortedRun],
    directory: epath.Path,
    hash_range: tuple[int, int] = (0, NUM_HASHES),
    *,
    dropped: Mapping[str, frozenset[int]] | None = None,
) -> Iterator[RunRange]:
    """Yields the examples of several runs in order, about 8 MB of pixels at a time.

    Args:
      runs: at most `MAX_MERGED` runs of images of the same shape; of examples with the same id,
        those of earlier runs come first.
      directory: the directory of their files.
      hash_range: the first hash of the examples, and the end of the hashes.
      dropped: rows of the runs to leave out, by the run's file name.

    Raises:
      WorkError: a file is damaged.
    """
    low, high = hash_range
    shape = runs[0].shape
    # Hashes are uniform, so equal parts of their range hold about the same number of examples.
    rows = sum(run.rows for run in runs) * (high - low) // NUM_HASHES
    num_parts = max(1, ceil_div(rows * math.prod(shape), _MERGED_BYTES))
    bounds = [low + (high - low) * part // num_parts for part in range(num_parts + 1)]
    with contextlib.ExitStack() as stack:
        # Opening a run takes longer than reading some rows of it, so runs stay open.
        readers = [stack.enter_context(open_run(directory / run.file)) for run in runs]
        for part in itertools.pairwise(bounds):
            ranges = [
                reader.read(shape, *part).without((dropped or {}).get(run.file, frozenset()))
                for run, reader in zip(runs, readers, strict=True)
            ]
            joined = _joined(ranges)
            if len(joined.examples):
                yield joined


def _joined(ranges: list[RunRange]) -> RunRange:
    """The examples of several ranges in order.

    Empties the list, so that the ranges are freed before the examples are sorted into a copy.
    """
    joined = RunRange(
        0,
        np.concatenate([part.hashes for part in ranges]),
        np.concatenate([part.digests for part in ranges]),
        ExampleBatch.concatenate(part.examples for part in ranges),
    )
    ranges.clear()
    return joined.take(sort_order(joined.hashes, joined.examples.ids))


def id_and_label_columns(path: epath.Path) -> tuple[list[str], np.ndarray]:
    """Reads a run's N ids and its labels: int64, shape [N]."""
    with open_run(path) as run:
        parts = [(keys["label"], ids) for keys, ids in run.blocks()]
    return [each for _, ids in parts for each in ids], np.concatenate([part for part, _ in parts])

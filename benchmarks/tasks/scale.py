"""Prepare with very many slices of tiny images: the work of its driver, without most pixels."""

import collections
import dataclasses
import math
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.tasks.reports import Report
from components.base.manifest import Input, fingerprint
from components.data.examples import ExampleBatch
from components.ingest.rejection import Rejected
from components.sources.source import Slice, Source, example_id

# Calls that a file system answers; on an object store each is a request.
_CALLS = {"open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.rmdir"}
# The pixels of an image are the bytes of its number, so that none is a duplicate of another.
_SHAPE = (1, 8, 1)


@dataclasses.dataclass(frozen=True)
class TinyImages:
    """A source of images of eight pixels, in ten classes.

    Attributes:
      num_slices: number of slices.
      per_slice: number of images in a slice.
    """

    num_slices: int
    per_slice: int

    @property
    def name(self) -> str:
        return "tiny"

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    @property
    def class_names(self) -> list[str]:
        return list("abcdefghij")

    @property
    def input(self) -> Input:
        return Input(None, fingerprint([self.num_slices, self.per_slice]))

    def fingerprint_without(self, ids: Collection[str]) -> str:
        return self.input.fingerprint

    @property
    def num_examples(self) -> Mapping[str, int]:
        return {"train": self.num_slices * self.per_slice}

    def slices(self) -> list[Slice]:
        return [
            Slice("train", "drawn", number * self.per_slice, self.per_slice)
            for number in range(self.num_slices)
        ]

    def read(self, part: Slice) -> Iterator[ExampleBatch | Rejected]:
        rows = np.arange(part.first, part.first + part.examples)
        ids = [example_id(part.split, row) for row in rows.tolist()]
        images = rows.astype("<i8").view(np.uint8).reshape(-1, *_SHAPE)
        yield ExampleBatch(ids, images, rows % 10)


class Phases:
    """The costs of the driver, by phase."""

    def __init__(self) -> None:
        self.cpu_seconds: dict[str, float] = collections.defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._phase = "other"
        self._start = time.process_time()
        sys.addaudithook(self._count)

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps a function, so that its costs are those of the phase."""

        def call(*arguments: Any, **options: Any) -> Any:
            outer = self._change(phase)
            try:
                return function(*arguments, **options)
            finally:
                self._change(outer)

        return call

    def _change(self, phase: str) -> str:
        """Begins a phase; returns the one that it ends."""
        now = time.process_time()
        ended = self._phase
        self.cpu_seconds[ended] += now - self._start
        self._phase, self._start = phase, now
        return ended

    def _count(self, event: str, _: object) -> None:
        if event in _CALLS:
            self.calls[self._phase] += 1


def prepare_tiny_images(
    slices: int, per_slice: int, full_slice: int, shards: int, output: str
) -> Report:
    """Prepares tiny images.

    Args:
      slices: number of slices.
      per_slice: number of images in a slice.
      full_slice: number of images in a slice of the dataset that is simulated.
      shards: about the number of shards of the train split.
      output: the directory to publish.

    Returns:
      By phase, the CPU seconds and the calls of the driver; and its peak memory, in bytes.
    """
    from pipeline.beam import launch  # noqa: F401 - not to be imported while the clock runs
    from pipeline.prepare import deduplication, execution, stage
    from pipeline.prepare.config import PrepareConfig

    source: Source = TinyImages(slices, per_slice)
    phases = Phases()
    stage.registry.open_source = lambda request: (source, [])
    for module, name, phase in (
        (execution, "read_slices", "reading"),
        (execution, "merged", "merging"),
        (stage, "_plan_shards", "planning"),
        (execution, "write_shards", "writing"),
    ):
        setattr(module, name, phases.timed(phase, getattr(module, name)))
    # As many ranges of keys as there would be if the slices had all of their images.
    keys = deduplication._KEYS_PER_RANGE * per_slice // full_slice
    deduplication._KEYS_PER_RANGE = max(1, keys)
    total_bytes = slices * per_slice * math.prod(_SHAPE)
    config = PrepareConfig(dataset="tiny", shard_bytes=max(1, total_bytes // shards))
    run = phases.timed("publishing", stage.prepare)
    dataset = run(config, output=output)
    return {
        "images": slices * per_slice,
        "shards": sum(map(len, dataset.shards.values())),
        "cpu_seconds": dict(phases.cpu_seconds),
        "calls": dict(phases.calls),
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }

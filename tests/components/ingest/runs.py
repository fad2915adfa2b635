"""Sorted runs that tests read."""

import numpy as np
from etils import epath

from components.base.shapes import Shape
from components.ingest.run_file import RunRange, open_run
from components.ingest.sorted_runs import NUM_HASHES


def read_run(path: epath.Path, shape: Shape, low: int, high: int) -> RunRange:
    """The examples of a run with hashes in [low, high); `shape` is that of the images."""
    with open_run(path) as run:
        return run.read(shape, low, high)


def digests_of(path: epath.Path) -> np.ndarray:
    """The digests of the pixels of a run: uint64, shape [N, 2]."""
    with open_run(path) as run:
        return np.concatenate([keys["digest"] for _, keys, _ in run.read_keys(0, NUM_HASHES)])

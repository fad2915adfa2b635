"""Sorted runs that tests read."""

from etils import epath

from components.base.shapes import Shape
from components.ingest.run_file import RunRange, open_run


def read_run(path: epath.Path, shape: Shape, low: int, high: int) -> RunRange:
    """The examples of a run with hashes in [low, high); `shape` is that of the images."""
    with open_run(path) as run:
        return run.read(shape, low, high)

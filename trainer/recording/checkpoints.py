"""Checkpoints: everything that a run needs to continue exactly where it was, one file each.

The training state is `trainer.optimization.update.State`, whose `named` gives the names of its
arrays. A checkpoint file is a SHA-256 digest followed by a NumPy archive. It is renamed into place
when it is complete, and the digest reveals any damage. Equal states give equal bytes.

A file that someone put next to the checkpoints of a run may belong to another run, or be malicious.
Reading it takes no more memory than its size, and runs no code.
"""

import dataclasses
import hashlib
import io
import math
import os
import tokenize
from collections.abc import Mapping
from typing import IO

import numpy as np
from etils import epath

from components.base import artifacts, console, files
from components.base.errors import WorkError
from components.base.plain_zip import PlainZip

_NUM_KEPT = 2
# The prefix of the state's arrays, which separates their names from those of the other fields.
_STATE = "state/"
_ARRAY = ".npy"
_DIGEST_BYTES = hashlib.sha256().digest_size
_READ_BYTES = 1 << 20
# The exceptions that NumPy raises for damaged headers.
_DAMAGE = (ValueError, SyntaxError, tokenize.TokenError)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state of a run at one step.

    Attributes:
      step: number of steps done.
      arrays: training state by name, such as `weights/0003`, in the order of `State`.
      epoch_sums: float64, shape [2]: rate and distortion in nats, summed over the examples of the
        current epoch so far.
      run: the `RunStates.run` of its run; empty in files of earlier versions.
      metrics: digest of the metrics of all epochs so far; empty in files of earlier versions.
    """

    step: int
    arrays: dict[str, np.ndarray]
    epoch_sums: np.ndarray
    run: str = ""
    metrics: str = ""


@dataclasses.dataclass(frozen=True)
class RunStates:
    """The properties that all states of a run share.

    Attributes:
      run: digest of all that determines the states.
      shapes: shape and type of each array of a state, by name.
      last_step: number of steps of the whole run.
    """

    run: str
    shapes: Mapping[str, tuple[tuple[int, ...], np.dtype]]
    last_step: int

    def objection(self, checkpoint: Checkpoint) -> str:
        """Why a checkpoint cannot be one of the run; empty if it can."""
        if checkpoint.step > self.last_step:
            return f"is that of step {checkpoint.step:,}, but the run has {self.last_step:,} steps"
        arrays = checkpoint.arrays
        for name in sorted(self.shapes.keys() | arrays.keys()):
            found = (arrays[name].shape, arrays[name].dtype) if name in arrays else None
            if found != self.shapes.get(name):
                return f"is that of another model: its {name} is not the one of this model"
        if checkpoint.run not in ("", self.run):
            return "is that of a run with another config or dataset"
        return ""


class Checkpoints:
    """The checkpoints of a run: those of the last two steps saved, and the best one.

    Args:
      directory: directory of the checkpoint files; created when the first one is saved.
      states: the properties that all states of the run share.
    """

    def __init__(self, directory: epath.PathLike, states: RunStates):
        self._directory = epath.Path(directory)
        self._best = self._directory / "best.ckpt"
        self._states = states

    def save(self, checkpoint: Checkpoint, *, is_best: bool = False) -> None:
        """Writes a checkpoint atomically, then deletes all but the last two.

        The best one is written first. A run that is killed between the two writes then resumes from
        an earlier step, reaches the same best step again and writes the same bytes. In the other
        order, the run would resume after its best step, and that checkpoint would never be written.

        Args:
          checkpoint: state to save.
          is_best: whether its model is the best so far.

        Raises:
          WorkError: the file on the disk differs from what was written; older checkpoints are kept.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        archive = self._archive(checkpoint)
        if is_best:
            _write(self._best, archive)
        _write(self._path(checkpoint.step), archive)
        self._delete_all_but_last(_NUM_KEPT)

    def save_best(self, checkpoint: Checkpoint) -> None:
        """Writes only the checkpoint of the best model. Raises the errors of `save`."""
        _write(self._best, self._archive(checkpoint))

    def latest(self) -> Checkpoint | None:
        """The newest intact checkpoint; None if there is none. Deletes damaged ones.

        Raises:
          WorkError: it is not one of this run.
        """
        paths = self._paths()
        while paths:
            path = paths.pop()
            if (checkpoint := read(path)) is not None:
                if objection := self._objection(path, checkpoint):
                    raise WorkError(
                        f"checkpoint {path} {objection}; move it away, and run the same command "
                        "again"
                    )
                # A process that was killed while saving may have left more than are kept.
                self._delete_all_but_last(_NUM_KEPT)
                return checkpoint
            fallback = "using the one before" if paths else "none is left, starting from step 0"
            console.warn(f"checkpoint {path} is damaged; {fallback}")
            path.unlink()
        return None

    def delete_all_but(self, step: int) -> None:
        """Deletes all step checkpoints except that of a step, the last one.

        Otherwise the published files would depend on where the run was last interrupted.

        Raises:
          WorkError: there is one of a later step, which is not of this run.
        """
        last = self._path(step)
        for path in self._paths():
            if path.name > last.name:
                raise WorkError(
                    f"checkpoint {path} is not of this run, which ended at step {step:,}; move it "
                    "away, and run the same command again"
                )
            if path.name != last.name:
                path.unlink()

    def best(self) -> Checkpoint | None:
        """The checkpoint last saved as the best; None if it is missing or cannot be used.

        A damaged one is deleted, so that it is not published.
        """
        if not self._best.exists():
            return None
        checkpoint = read(self._best)
        if checkpoint is None:
            console.warn(f"checkpoint {self._best} is damaged and cannot be used")
            self._best.unlink()
            return None
        if objection := self._states.objection(checkpoint):
            console.warn(f"checkpoint {self._best} {objection}; it is not used")
            return None
        return checkpoint

    def _path(self, step: int) -> epath.Path:
        return self._directory / f"step-{step:09d}.ckpt"

    def _archive(self, checkpoint: Checkpoint) -> bytes:
        return _archive(dataclasses.replace(checkpoint, run=self._states.run))

    def _objection(self, path: epath.Path, checkpoint: Checkpoint) -> str:
        """Why the checkpoint in a file is not one of this run; empty if it is."""
        if path.name != self._path(checkpoint.step).name:
            return f"is that of step {checkpoint.step:,}, which its name does not say"
        return self._states.objection(checkpoint)

    def _delete_all_but_last(self, count: int) -> None:
        for path in self._paths()[:-count]:
            path.unlink()

    def _paths(self) -> list[epath.Path]:
        """The step checkpoints, oldest first."""
        return files.list_matching(self._directory, "step-*.ckpt")


def _archive(checkpoint: Checkpoint) -> bytes:
    """A checkpoint as a NumPy archive. It holds no time, so equal states give equal bytes."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        step=checkpoint.step,
        run=checkpoint.run,
        metrics=checkpoint.metrics,
        epoch_sums=checkpoint.epoch_sums,
        **{f"{_STATE}{name}": array for name, array in checkpoint.arrays.items()},
    )
    return buffer.getvalue()


def _write(path: epath.Path, archive: bytes) -> None:
    """Writes a checkpoint file, and reads it back before it replaces an older one."""
    with artifacts.atomic_write(path) as temporary:
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(archive).digest())
            file.write(archive)
            file.flush()
            # A file of a remote file system has no descriptor to synchronize.
            if os.path.isfile(temporary):
                os.fsync(file.fileno())
        with temporary.open("rb") as file:
            if not _is_intact(file):
                raise WorkError(
                    f"{path} differs from what was written to it, so the disk is failing; the "
                    "earlier checkpoints are kept: copy them to another disk and continue there"
                )


def read(path: epath.Path) -> Checkpoint | None:
    """The checkpoint in a file; None if it is damaged.

    Raises:
      WorkError: the path is a pipe or a device.
    """
    with files.open_regular(path) as file:
        if not _is_intact(file):
            return None
        try:
            # A digest does not prove the origin, so the content may still be anything.
            archive = PlainZip(file)
            arrays = {
                name.removesuffix(_ARRAY): _array(archive.read(name)) for name in archive.sizes
            }
        except _DAMAGE:
            return None
    step, epoch_sums = (arrays.pop(name, np.empty(0)) for name in ("step", "epoch_sums"))
    run, metrics = (str(arrays.pop(name, "")) for name in ("run", "metrics"))
    is_step = step.shape == () and step.dtype.kind == "i" and step >= 0
    is_sums = epoch_sums.shape == (2,) and epoch_sums.dtype == np.float64
    if not (is_step and is_sums and np.isfinite(epoch_sums).all()):
        return None
    state = {name.removeprefix(_STATE): array for name, array in arrays.items()}
    return Checkpoint(int(step), state, epoch_sums, run, metrics)


def _array(data: bytes) -> np.ndarray:
    """The array in a `.npy` file, without a copy of its elements.

    Raises:
      ValueError, and others of NumPy: the file is damaged, or its size is not that of the array.
    """
    file = io.BytesIO(data)
    np.lib.format.read_magic(file)
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"{len(data)} bytes for an array of shape {shape}")
    elements = np.frombuffer(data, dtype, offset=file.tell())
    return elements.reshape(shape, order="F" if is_fortran else "C")


def _is_intact(file: IO) -> bool:
    """Whether the digest at the start of a checkpoint file is that of the bytes after it."""
    stored = file.read(_DIGEST_BYTES)
    digest = hashlib.sha256()
    while data := file.read(_READ_BYTES):
        digest.update(data)
    return digest.digest() == stored

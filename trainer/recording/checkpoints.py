"""Checkpoints: all that a run needs to go on with the same bits, one file each.

A checkpoint is a SHA-256 and the NumPy archive it is of. Being a single file it is renamed whole,
and no damage to it goes unnoticed. The same state gives the same bytes.
"""

import dataclasses
import hashlib
import io
import os
from typing import IO

import numpy as np
from etils import epath

from components.base import artifacts, console
from components.base.errors import WorkError

_KEPT = 2
_STATE = "state/"  # keeps the names of the state's arrays apart from our own
_DIGEST_BYTES = hashlib.sha256().digest_size
_READ_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A point of a run.

    Attributes:
      step: steps done.
      arrays: the training state by name, such as `weights/encoder/dense/kernel`; order is kept.
      epoch_sums: float64 [2], rate and distortion summed over the running epoch so far.
    """

    step: int
    arrays: dict[str, np.ndarray]
    epoch_sums: np.ndarray


class Checkpoints:
    """The checkpoints of a run in a directory: the newest two, and the best."""

    def __init__(self, directory: epath.PathLike):
        self._directory = epath.Path(directory)
        self._best = self._directory / "best.ckpt"

    def save(self, checkpoint: Checkpoint, *, is_best: bool = False) -> None:
        """Writes a checkpoint, whole or not at all, then drops those before the last two.

        A run killed after the best is written, and before the step is, goes on from the checkpoint
        before, comes to the same best again and writes the same bytes. In the other order it would
        go on past its best without it.

        Raises:
          WorkError: the file reads back otherwise than it was written; those before it are kept.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        archive = _archive(checkpoint)
        if is_best:
            _write(self._best, archive)
        _write(self._directory / f"step-{checkpoint.step:09d}.ckpt", archive)
        self._drop_old()

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that can be read, or None if there is none."""
        paths = self._paths()
        while paths:
            path = paths.pop()
            if (checkpoint := _read(path)) is not None:
                self._drop_old()  # A run that was killed before it could goes on from here.
                return checkpoint
            instead = "using the one before" if paths else "none is left, so starting from step 0"
            console.warn(f"checkpoint {path} is damaged; {instead}")
            path.unlink()
        return None

    def keep_newest(self) -> None:
        """Drops the step before the newest: at which one a run last stopped shall not show in what
        it publishes."""
        for path in self._paths()[:-1]:
            path.unlink()

    def best(self) -> Checkpoint | None:
        """The last one that was saved as the best; None if there is none that can be read."""
        if not self._best.exists():
            return None
        checkpoint = _read(self._best)
        if checkpoint is None:
            console.warn(f"checkpoint {self._best} is damaged; it is of no more use")
        return checkpoint

    def _drop_old(self) -> None:
        for path in self._paths()[:-_KEPT]:
            path.unlink()

    def _paths(self) -> list[epath.Path]:
        return sorted(self._directory.glob("step-*.ckpt")) if self._directory.exists() else []


def _archive(checkpoint: Checkpoint) -> bytes:
    """A checkpoint as a NumPy archive, which holds no time: equal states give equal bytes."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        step=checkpoint.step,
        epoch_sums=checkpoint.epoch_sums,
        **{f"{_STATE}{name}": array for name, array in checkpoint.arrays.items()},
    )
    return buffer.getvalue()


def _write(path: epath.Path, archive: bytes) -> None:
    """Writes a checkpoint's file, and looks whether it is there before it takes its place."""
    with artifacts.atomic_write(path) as temporary:
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(archive).digest())
            file.write(archive)
            file.flush()
            if os.path.isfile(temporary):
                os.fsync(file.fileno())
        with temporary.open("rb") as file:
            if not _is_intact(file):
                raise WorkError(
                    f"{path} reads back otherwise than it was written, so the disk is failing; "
                    "the checkpoints before it are kept: copy them to another disk and go on there"
                )


def _read(path: epath.Path) -> Checkpoint | None:
    """The checkpoint in a file; None if it is damaged."""
    with path.open("rb") as file:
        if not _is_intact(file):
            return None
        file.seek(_DIGEST_BYTES)
        with np.load(file) as archive:
            names = [name for name in archive.files if name.startswith(_STATE)]
            return Checkpoint(
                step=int(archive["step"]),
                arrays={name.removeprefix(_STATE): archive[name] for name in names},
                epoch_sums=archive["epoch_sums"],
            )


def _is_intact(file: IO) -> bool:
    """Whether a checkpoint's bytes have the digest that stands before them."""
    stored = file.read(_DIGEST_BYTES)
    digest = hashlib.sha256()
    while data := file.read(_READ_BYTES):
        digest.update(data)
    return digest.digest() == stored

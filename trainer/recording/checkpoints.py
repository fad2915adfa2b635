"""Checkpoints: everything that a run needs to continue exactly where it was, one file each.

The training state is `trainer.optimization.update.State`, whose `named` gives the names of its
arrays. A checkpoint file is a SHA-256 digest followed by a NumPy archive. It is renamed into place
when it is complete, and the digest reveals any damage. Equal states give equal bytes.
"""

import dataclasses
import hashlib
import io
import os
from typing import IO

import numpy as np
from etils import epath

from components.base import artifacts, console, files
from components.base.errors import WorkError

_NUM_KEPT = 2
# The prefix of the state's arrays, which separates their names from those of the other fields.
_STATE = "state/"
_DIGEST_BYTES = hashlib.sha256().digest_size
_READ_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state of a run at one step.

    Attributes:
      step: number of steps done.
      arrays: training state by name, such as `weights/0003`, in the order of `State`.
      epoch_sums: float64, shape [2]: rate and distortion in nats, summed over the examples of the
        current epoch so far.
    """

    step: int
    arrays: dict[str, np.ndarray]
    epoch_sums: np.ndarray


class Checkpoints:
    """The checkpoints of a run: those of the last two steps saved, and the best one.

    Args:
      directory: directory of the checkpoint files; created when the first one is saved.
    """

    def __init__(self, directory: epath.PathLike):
        self._directory = epath.Path(directory)
        self._best = self._directory / "best.ckpt"

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
        archive = _archive(checkpoint)
        if is_best:
            _write(self._best, archive)
        _write(self._directory / f"step-{checkpoint.step:09d}.ckpt", archive)
        self._delete_all_but_last(_NUM_KEPT)

    def latest(self) -> Checkpoint | None:
        """The newest intact checkpoint; None if there is none. Deletes damaged ones."""
        paths = self._paths()
        while paths:
            path = paths.pop()
            if (checkpoint := _read(path)) is not None:
                # A process that was killed while saving may have left more than are kept.
                self._delete_all_but_last(_NUM_KEPT)
                return checkpoint
            fallback = "using the one before" if paths else "none is left, starting from step 0"
            console.warn(f"checkpoint {path} is damaged; {fallback}")
            path.unlink()
        return None

    def delete_all_but_latest(self) -> None:
        """Deletes all step checkpoints except the newest.

        Otherwise the published files would depend on where the run was last interrupted.
        """
        self._delete_all_but_last(1)

    def best(self) -> Checkpoint | None:
        """The checkpoint last saved as the best; None if it is missing or damaged."""
        if not self._best.exists():
            return None
        checkpoint = _read(self._best)
        if checkpoint is None:
            console.warn(f"checkpoint {self._best} is damaged and cannot be used")
        return checkpoint

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
    """Whether the digest at the start of a checkpoint file is that of the bytes after it."""
    stored = file.read(_DIGEST_BYTES)
    digest = hashlib.sha256()
    while data := file.read(_READ_BYTES):
        digest.update(data)
    return digest.digest() == stored

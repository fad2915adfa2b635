"""Checkpoints: all that a run needs to go on with the same bits, one file each.

A checkpoint is a SHA-256 and the NumPy archive it is of. Being a single file it is renamed whole,
and no damage to it goes unnoticed.
"""

import dataclasses
import hashlib
import io
from collections.abc import Sequence

import numpy as np
from etils import epath

from components import artifacts, console

_KEPT = 2


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A point of a run.

    Attributes:
      step: steps done.
      arrays: the training state, in the order of its variables.
      epoch_sums: float64 [2], rate and distortion summed over the running epoch so far.
    """

    step: int
    arrays: Sequence[np.ndarray]
    epoch_sums: np.ndarray


class Checkpoints:
    """The checkpoints of a run in a directory; the newest two are kept."""

    def __init__(self, directory: epath.PathLike):
        self._directory = epath.Path(directory)

    def save(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint, whole or not at all, and drops those before the last two."""
        self._directory.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        named = {f"state_{index:04d}": array for index, array in enumerate(checkpoint.arrays)}
        np.savez(
            buffer,
            allow_pickle=False,
            step=checkpoint.step,
            epoch_sums=checkpoint.epoch_sums,
            **named,
        )
        archive = buffer.getvalue()
        with artifacts.written_whole(self._path(checkpoint.step)) as temporary:
            temporary.write_bytes(hashlib.sha256(archive).digest() + archive)
        for path in self._paths()[:-_KEPT]:
            path.unlink()

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that can be read, or None if there is none."""
        for path in reversed(self._paths()):
            if (checkpoint := _read(path)) is not None:
                return checkpoint
            console.warn(f"checkpoint {path} is damaged; using the one before")
            path.unlink()
        return None

    def _path(self, step: int) -> epath.Path:
        return self._directory / f"step-{step:09d}.ckpt"

    def _paths(self) -> list[epath.Path]:
        return sorted(self._directory.glob("step-*.ckpt")) if self._directory.exists() else []


def _read(path: epath.Path) -> Checkpoint | None:
    """The checkpoint in a file; None if it is damaged."""
    data = path.read_bytes()
    digest, data = data[: hashlib.sha256().digest_size], data[hashlib.sha256().digest_size :]
    if hashlib.sha256(data).digest() != digest:
        return None
    with np.load(io.BytesIO(data)) as archive:
        names = sorted(name for name in archive.files if name.startswith("state_"))
        return Checkpoint(
            step=int(archive["step"]),
            arrays=[archive[name] for name in names],
            epoch_sums=archive["epoch_sums"],
        )

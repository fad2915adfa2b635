"""Estimates the log-likelihood of a split: long work, which can be interrupted."""

import io
from typing import TYPE_CHECKING

import numpy as np
from etils import epath

from components.base import artifacts, console
from components.base.progress import Progress

if TYPE_CHECKING:
    from components.model.vae import VAE

# The estimate of each example in the order of the split, float64: with it, two models can be
# compared example by example. An unfinished evaluation continues after the estimates in it.
LOG_LIKELIHOODS_FILE = "log_likelihoods.npy"


def estimate(
    vae: "VAE",
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    samples: int,
    seed: int,
    directory: epath.Path,
) -> np.ndarray:
    """Estimates log p(x) of images, or log p(x|y) given labels, and displays the progress.

    Every block of estimates is saved in the directory, and a later call with the same arguments
    continues there.

    Args:
      vae: the model.
      images: uint8, shape [N, height, width, channels].
      labels: of the images, integers of shape [N], for a conditional model.
      samples: number of draws of z for each image.
      seed: seed of the draws.
      directory: the draft of the evaluation.

    Returns:
      Estimates in nats, float64, shape [N].
    """
    from components.metrics import importance

    path = directory / LOG_LIKELIHOODS_FILE
    done = _read(path, len(images))
    total = len(images)
    if len(done):
        console.say(f"evaluate: continuing after {len(done):,} of {total:,} log-likelihoods")
    with Progress(total, done=len(done)) as progress:
        blocks = importance.log_likelihoods(
            vae, images, labels, samples=samples, seed=seed, first=len(done)
        )
        for block in blocks:
            done = np.concatenate([done, block])
            _write(path, done)
            nll = f"{-done.mean():z.2f}"
            progress.advance(
                len(block),
                label="log-likelihood",
                figures={"nats": nll},
                line=f"evaluate: negative log-likelihood of {len(done):,} of {total:,} examples: "
                f"{nll} nats with {samples:,} draws each",
            )
    return done


def _read(path: epath.Path, total: int) -> np.ndarray:
    """The estimates of an interrupted call; none if there are none or the file is damaged."""
    from components.metrics import importance

    if not path.exists():
        return np.empty(0)
    try:
        done = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        if done.dtype != np.float64 or done.ndim != 1 or not np.isfinite(done).all():
            raise ValueError("not a list of estimates")
        importance.check_start(len(done), total)
    except (ValueError, EOFError, OSError):
        console.warn(f"{path} is damaged; estimating the log-likelihoods from the start")
        return np.empty(0)
    return done


def _write(path: epath.Path, done: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, done, allow_pickle=False)
    with artifacts.atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getvalue())

"""The reports of tasks, and how time is measured.

A report has `images`, the number of images handled, and `seconds`, the time that they took without
imports. Where there are several passes, `first_seconds` is the time of the first. Tasks that train
add `loss`, in nats per image.
"""

import time
from collections.abc import Callable
from typing import Any

Report = dict[str, Any]

BATCH = 1000  # images per batch
_PASSES = 3  # after the first


def passes(handle_images: Callable[[], int]) -> Report:
    """Times the first pass, and reports the fastest of three more.

    Args:
      handle_images: one pass; returns the number of images that it handled.
    """
    seconds = []
    images = 0
    for _ in range(1 + _PASSES):
        start = time.perf_counter()
        images = handle_images()
        seconds.append(time.perf_counter() - start)
    return {"images": images, "seconds": min(seconds[1:]), "first_seconds": seconds[0]}


def laps(lap: Callable[[], float], *, images: int, seconds: float) -> Report:
    """Times whole laps for at least `seconds`, after one lap to warm up.

    Args:
      lap: trains on all images once; returns their mean loss, in nats per image.
      images: number of images per lap.
      seconds: the shortest time to measure.
    """
    lap()
    losses: list[float] = []
    start = time.perf_counter()
    while not losses or time.perf_counter() - start < seconds:
        losses.append(lap())
    elapsed = time.perf_counter() - start
    return {"images": images * len(losses), "seconds": elapsed, "loss": losses[0]}

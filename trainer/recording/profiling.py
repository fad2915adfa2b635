"""A trace of a few training steps, for TensorBoard's profiler."""

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf
from etils import epath

from components.base import console


class Profile:
    """Traces some calls of steps, but for the first, which compiles.

    Args:
      directory: TensorBoard's; the trace comes to lie below its `plugins/profile/`.
      steps: how many to trace, rounded up to whole calls; 0 for none.
    """

    def __init__(self, directory: epath.Path, *, steps: int):
        self._directory = directory
        self._steps_left = steps
        self._is_compiled = False
        self._is_tracing = False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_tracing:
            self._stop()
        elif self._steps_left > 0:
            console.warn(
                "no profile was written: the run had no call of steps after the first, which "
                "compiles; lower --steps_per_call, or train for longer"
            )

    @contextlib.contextmanager
    def call(self, num_steps: int) -> Iterator[None]:
        """Around each call of steps."""
        if self._is_compiled and self._steps_left > 0 and not self._is_tracing:
            tf.profiler.experimental.start(os.fspath(self._directory))
            self._is_tracing = True
        yield
        self._is_compiled = True
        if self._is_tracing:
            self._steps_left -= num_steps
            if self._steps_left <= 0:
                self._stop()

    def _stop(self) -> None:
        tf.profiler.experimental.stop()
        self._is_tracing = False
        console.say(f"train: the profile lies in {self._directory / 'plugins' / 'profile'}")

"""A trace of some training steps, for TensorBoard's profiler."""

import contextlib
import os
from collections.abc import Iterator
from typing import Protocol

import tensorflow as tf
from etils import epath

from components.base import console


class Profiler(Protocol):
    """Observes the calls of training steps within its context."""

    def __enter__(self) -> "Profiler": ...

    def __exit__(self, *exception: object) -> None: ...

    def call(self, num_steps: int) -> contextlib.AbstractContextManager[None]:
        """A context for one call of `num_steps` steps."""


class NoProfiler:
    """Records no trace."""

    def __enter__(self) -> "NoProfiler":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def call(self, num_steps: int) -> contextlib.AbstractContextManager[None]:
        """A context that does nothing."""
        del num_steps
        return contextlib.nullcontext()


class TraceProfiler:
    """Traces some calls of the loop, which run up to `steps_per_call` steps each.

    It skips the first call, which compiles.

    Args:
      directory: TensorBoard's directory; the trace is written to `plugins/profile/` in it.
      steps: number of steps to trace, at least 1; rounded up to whole calls.
    """

    def __init__(self, directory: epath.Path, *, steps: int):
        self._directory = directory
        self._steps_left = steps
        self._is_compiled = False
        self._is_tracing = False

    def __enter__(self) -> "TraceProfiler":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._is_tracing:
            self._stop()
        elif self._steps_left > 0:
            console.warn(
                "no profile was written: the run had only one call of up to --steps_per_call "
                "steps, and the first call, which compiles, is not traced; lower --steps_per_call "
                "or train for more epochs"
            )

    @contextlib.contextmanager
    def call(self, num_steps: int) -> Iterator[None]:
        """A context for one call of `num_steps` steps; traces it if it is due."""
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
        console.say(f"train: wrote the profile to {self._directory / 'plugins' / 'profile'}")

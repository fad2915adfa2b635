"""Event files, which TensorBoard reads."""

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any

from etils import epath
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

from components.base import console, file_errors, local_files
from components.data import tfrecord


class EventFile:
    """The event file of one TensorBoard run: a TFRecord file of events.

    This project uses neither `tf.summary`, which cannot mark the start of a session, nor
    TensorBoard's writer, whose thread prints a traceback if the disk is full. If the file cannot be
    written, one warning says so, and training continues without it.

    Args:
      directory: directory of the TensorBoard run.
      resumed_step: step that the training run resumes from; TensorBoard hides what earlier
        processes recorded after it.
      name: what follows `events.out.tfevents.` in the name of the file, which is replaced if there
        is one; by default it names this process.
    """

    def __init__(self, directory: epath.Path, *, resumed_step: int, name: str | None = None):
        name = name or f"{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._path = directory / f"events.out.tfevents.{name}"
        self._file: IO[bytes] | None = None
        self._opened = contextlib.ExitStack()
        with self._warning():
            directory.mkdir(parents=True, exist_ok=True)
            local = self._opened.enter_context(local_files.written_locally(self._path))
            self._file = self._opened.enter_context(local.open("wb"))
        self._add(0, file_version="brain.Event:2")
        # TensorBoard then ignores what earlier sessions recorded from this step on.
        self._add(resumed_step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, summaries: Iterable[Summary]) -> None:
        """Adds the values of summaries at a step."""
        values = [value for summary in summaries for value in summary.value]
        self._add(step, summary=Summary(value=values))

    def close(self) -> None:
        """Closes the file."""
        with self._warning():
            self._opened.close()

    def _add(self, step: int, **content: Any) -> None:
        if self._file is None:
            return
        event = Event(step=step, wall_time=time.time(), **content)
        with self._warning():
            self._file.write(tfrecord.frame(event.SerializeToString()))
            self._file.flush()

    @contextlib.contextmanager
    def _warning(self) -> Iterator[None]:
        """Turns a file error into a warning, after which nothing more is written."""
        try:
            yield
        except file_errors.error_types() as error:
            self._file = None
            with contextlib.suppress(*file_errors.error_types()):
                self._opened.close()
            console.warn(
                f"{self._path} cannot be written ({file_errors.error_reason(error)}); the training "
                "continues, but TensorBoard shows only the content of the file"
            )

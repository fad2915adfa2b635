"""The progress of tasks on workers, from the files that the finished tasks leave.

Workers may be threads, processes or other machines, depending on the runner, and not every runner
reports its metrics while it runs. Their files can be watched on all of them.
"""

import contextlib
import dataclasses
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from etils import epath

from components.base import files
from components.base.progress import Progress

# Seconds between two polls of the directory. A log shows at most one line per minute.
_TERMINAL_SECONDS = 0.3
_LOG_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Work:
    """Work that tasks do, and how to display its progress.

    Attributes:
      label: name of the work, such as `reading`.
      unit: name of a unit of work, in the plural.
      total: number of units of work.
      count: reads the file of a finished task; returns the number of units under the key `unit`,
        and other numbers to show.
      line: the line for a log, from the sums of the numbers so far.
    """

    label: str
    unit: str
    total: int
    count: Callable[[epath.Path], dict[str, int]]
    line: Callable[[Counter[str]], str]


@contextlib.contextmanager
def shown(work: Work, directory: epath.Path, pattern: str) -> Iterator[None]:
    """Displays the progress of work while the body runs.

    A log gets a line at the end too, unless the body fails.

    Args:
      work: the work.
      directory: directory of the files that the tasks leave; each is written atomically.
      pattern: pattern of the names of these files.
    """
    with Progress(work.total, unit=work.unit) as progress:
        watcher = _Watcher(work, directory, pattern, progress)
        with watcher:
            yield
        progress.milestone(work.line(watcher.sums))


class _Watcher:
    """A thread that advances a progress display, from its entry as a context to its exit."""

    def __init__(self, work: Work, directory: epath.Path, pattern: str, progress: Progress):
        self.sums: Counter[str] = Counter()
        self._work = work
        self._directory = directory
        self._pattern = pattern
        self._progress = progress
        self._seen: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        seconds = _TERMINAL_SECONDS if sys.stderr.isatty() else _LOG_SECONDS
        self._poll()
        while not self._ended.wait(seconds):
            self._poll()
        # A last poll after the end, so that every file is counted.
        self._poll()

    def _poll(self) -> None:
        """Counts the new files and updates the display."""
        new: Counter[str] = Counter()
        for path in files.list_matching(self._directory, self._pattern):
            if path.name not in self._seen:
                self._seen.add(path.name)
                new.update(self._work.count(path))
        self.sums.update(new)
        figures = {
            name: f"{value:,}" for name, value in self.sums.items() if name != self._work.unit
        }
        self._progress.advance(
            new[self._work.unit],
            label=self._work.label,
            figures=figures,
            line=self._work.line(self.sums),
        )

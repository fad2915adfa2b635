"""The progress of tasks on workers, from the files that the finished tasks leave.

Workers may be threads, processes or other machines, depending on the runner, and not every runner
reports its metrics while it runs. Their files can be watched on all of them.
"""

import contextlib
import dataclasses
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from etils import epath

from components.base import files
from components.base.progress import Progress
from components.sources import image_files

# Seconds between two polls of the directory. A log shows at most one line per minute.
_TERMINAL_SECONDS = 0.3
_LOG_SECONDS = 5.0
# Each poll lists all reports. So that their number does not matter, listing takes at most this
# fraction of the time.
_MAX_LISTING = 0.05


@dataclasses.dataclass(frozen=True)
class Work:
    """Work that tasks do, and how to display its progress.

    Attributes:
      label: name of the work, such as `reading`.
      unit: name of a unit of work, in the plural.
      total: number of units of work.
      count: reads the file of a finished task; returns the number of units under the key `unit`,
        and other numbers to show. Nothing if the file is damaged, and will be written again.
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
        while not self._ended.wait(pause(seconds, self._poll())):
            pass
        # A last poll after the end, so that every file is counted.
        self._poll()

    def _poll(self) -> float:
        """Counts the new files and updates the display; returns the seconds of listing them."""
        start = time.monotonic()
        names = files.names_matching(self._directory, self._pattern)
        seconds = time.monotonic() - start
        unseen = [name for name in names if name not in self._seen]
        paths = [self._directory / name for name in unseen]
        is_remote = files.is_remote(self._directory)
        new: Counter[str] = Counter()
        counted = (image_files.read_ahead if is_remote else map)(self._work.count, paths)
        for name, numbers in zip(unseen, counted, strict=True):
            if numbers:
                self._seen.add(name)
                new.update(numbers)
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
        return seconds


def pause(usual: float, listing: float) -> float:
    """The seconds until the next poll.

    Args:
      usual: seconds between two polls, if listing takes no time.
      listing: seconds that listing took.
    """
    return max(usual, listing * (1 / _MAX_LISTING - 1))

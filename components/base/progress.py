"""The progress of long work: a bar on a terminal, one line per minute in a log."""

import sys
import time
from collections.abc import Callable, Mapping

from tqdm import tqdm

from components.base import console

_LOG_SECONDS = 60.0
# The bar fills the rest of the line; next to two figures there is room for it in 80 columns.
_BAR_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {remaining}, {rate_noinv_fmt}{postfix}"


class Progress:
    """The progress display of every stage.

    A terminal shows a bar. Other outputs, such as a log file, get lines: one when a minute has
    passed since the previous line, and the line of the last milestone when the work ends.

    Args:
      total: number of units of work.
      done: number of units that earlier runs of the same command finished.
      unit: name of a unit, in the plural.
      clock: returns the time in seconds; only a log uses it.
    """

    def __init__(
        self,
        total: int,
        *,
        done: int = 0,
        unit: str = "images",
        clock: Callable[[], float] = time.monotonic,
    ):
        is_terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=done,
            unit=f" {unit}",
            unit_scale=True,
            dynamic_ncols=True,
            bar_format=_BAR_FORMAT,
            mininterval=0.2,
            disable=not is_terminal,
        )
        self._log = None if is_terminal else _Log(clock)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def advance(self, count: int, *, label: str, figures: Mapping[str, str], line: str) -> None:
        """Reports that `count` more units are done.

        Args:
          count: number of units.
          label: the current work, shown before the bar.
          figures: values by name, shown after the bar.
          line: the line for a log.
        """
        self._bar.set_description_str(label, refresh=False)
        self._show_figures(figures)
        self._bar.update(count)
        if self._log:
            self._log.on_advance(line)

    def milestone(self, line: str, *, figures: Mapping[str, str] | None = None) -> None:
        """Reports the end of a part of the work; a log shows the last milestone in any case.

        Args:
          line: the line for a log.
          figures: values by name, shown after the bar from now on; None leaves them as they are.
        """
        if figures is not None:
            self._show_figures(figures)
        if self._log:
            self._log.on_milestone(line)

    def _show_figures(self, figures: Mapping[str, str]) -> None:
        text = ", ".join(f"{name} {value}" for name, value in figures.items())
        self._bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """Ends the display; writes the last milestone to a log, unless it has been written."""
        # The bar is redrawn at most five times per second, so its last state may not be shown yet.
        self._bar.refresh()
        self._bar.close()
        if self._log:
            self._log.close()


class _Log:
    """The lines of a log, limited to one per minute."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._last_line = self._last_milestone = clock()
        self._pending = ""

    def on_advance(self, line: str) -> None:
        # Not within a minute of a milestone: the next one may be near, and its line says more.
        if self._clock() - max(self._last_line, self._last_milestone) >= _LOG_SECONDS:
            self._say(line)

    def on_milestone(self, line: str) -> None:
        self._last_milestone = self._clock()
        self._pending = line
        if self._last_milestone - self._last_line >= _LOG_SECONDS:
            self._say(line)

    def close(self) -> None:
        if self._pending:
            self._say(self._pending)

    def _say(self, line: str) -> None:
        console.say(line)
        self._last_line = self._clock()
        self._pending = ""

"""What is measured, as rows of a table: run in turn, medians taken, written as Markdown."""

import dataclasses
import json
import shutil
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from benchmarks import processes
from benchmarks.processes import Run, RunError
from components.base import console

HEAD = (
    "what", "images", "images/s", "per core", "wall, s", "largest process, MB",
    "all processes, MB", "ours / this", "remarks",
)  # fmt: skip
_SLOW_SECONDS = 20.0


@dataclasses.dataclass(frozen=True)
class Row:
    """Something to measure.

    Attributes:
      task: one of `benchmarks.tasks`.
      arguments: the task's; the `output` among them is removed after each run.
      is_ours: whether it is this project's own, and no peer.
      missing: why it cannot be measured, if so.
    """

    name: str
    task: str
    arguments: dict[str, Any]
    is_ours: bool = False
    missing: str = ""

    @property
    def writes(self) -> str:
        """The folder that the task leaves, if any."""
        return self.arguments.get("output", "")


@dataclasses.dataclass(frozen=True)
class Figures:
    """The medians of a row's runs: images, images per second, seconds and bytes.

    Attributes:
      rate: without imports.
      first_rate: of the first of several passes; 0 where there was one only.
      wall: with imports.
      largest, total: of the largest process, and of all together.
    """

    images: int
    rate: float
    first_rate: float
    wall: float
    largest: float
    total: float

    @staticmethod
    def of(timed: Sequence[Run], sampled: Sequence[Run]) -> "Figures":
        reports = [run.report for run in timed]
        firsts = [r["images"] / r["first_seconds"] for r in reports if "first_seconds" in r]
        return Figures(
            images=reports[0]["images"],
            rate=statistics.median(r["images"] / r["seconds"] for r in reports),
            first_rate=statistics.median(firsts) if firsts else 0.0,
            wall=statistics.median(run.wall for run in timed),
            largest=statistics.median(run.peaks.largest for run in sampled),
            total=statistics.median(run.peaks.total for run in sampled),
        )


Result = Figures | str  # a text says why there are no figures


def run_task(task: str, arguments: dict[str, Any], *, sample_memory: bool) -> Run:
    """Runs one of `benchmarks.tasks` in a fresh process. Raises RunError where it fails."""
    command = processes.python("benchmarks.tasks", task, json.dumps(arguments))
    return processes.run(command, sample_memory=sample_memory)


def measure(rows: Sequence[Row], *, repeats: int, for_memory: bool = False) -> list[Result]:
    """Runs all rows in turn: once for their memory, then `repeats` times for their speed.

    A slow peer runs but once. With `for_memory` every run tells memory, and speed by the way.
    """
    sampled: dict[str, list[Run]] = defaultdict(list)
    timed: dict[str, list[Run]] = defaultdict(list)
    results: dict[str, Result] = {row.name: row.missing for row in rows if row.missing}
    for number in range(repeats if for_memory else 1 + repeats):
        sample_memory = for_memory or number == 0
        for row in rows:
            is_slow = any(run.wall > _SLOW_SECONDS for run in sampled[row.name])
            if row.name in results or (is_slow and not row.is_ours):
                continue
            console.say(f"bench: {row.name} ({'memory' if sample_memory else 'speed'})")
            try:
                run = run_task(row.task, row.arguments, sample_memory=sample_memory)
                (sampled if sample_memory else timed)[row.name].append(run)
            except RunError as error:
                results[row.name] = f"failed: {error}"
            finally:
                if row.writes:
                    shutil.rmtree(row.writes, ignore_errors=True)
    for row in rows:
        if row.name not in results:
            memory = sampled[row.name]
            results[row.name] = Figures.of(timed[row.name] or memory, memory)
    return [results[row.name] for row in rows]


def section(
    title: str,
    rows: Sequence[Row],
    results: Sequence[Result],
    *,
    remarks: Sequence[str] = (),
    cores: Sequence[int] = (),
    more: Sequence[Sequence[str]] = (),
) -> str:
    """A titled table.

    Args:
      remarks: on the first rows.
      cores: how many are at work in each row, where rates per core are told, and compared.
      more: lines below the rows'.
    """

    def speed(number: int, figures: Figures) -> float:
        return figures.rate / (cores[number] if cores else 1)

    reference = next(
        (
            speed(number, result)
            for number, (row, result) in enumerate(zip(rows, results, strict=True))
            if row.is_ours and isinstance(result, Figures)
        ),
        None,
    )
    lines = []
    for number, (row, result) in enumerate(zip(rows, results, strict=True)):
        if isinstance(result, str):
            lines.append([row.name, *[""] * (len(HEAD) - 2), result])
            continue
        said = [*remarks[number : number + 1]]
        if result.first_rate:
            said.append(f"first pass {result.first_rate:,.0f}")
        lines.append(
            [
                row.name,
                f"{result.images:,}",
                f"{result.rate:,.0f}",
                f"{speed(number, result):,.0f}" if cores else "",
                f"{result.wall:.1f}",
                f"{result.largest / 1e6:,.0f}",
                f"{result.total / 1e6:,.0f}" if result.total else "",
                f"{reference / speed(number, result):.2f}" if reference and not row.is_ours else "",
                "; ".join(filter(None, said)),
            ]
        )
    return f"**{title}**\n\n{table(HEAD, [*lines, *more])}"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """An aligned Markdown table; all but the outer columns hold numbers, at the right."""
    columns = list(zip(head, *lines, strict=True))
    widths = [max(3, *map(len, column)) for column in columns]
    inner = range(1, len(columns) - 1)

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if number in inner else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - 1) + (":" if n in inner else "-") for n, width in enumerate(widths)]
    return "\n".join(map(line, [head, rule, *lines]))


def at_least(value: float, wanted: float, unit: str) -> str:
    """A figure that was asked for, and whether it was reached."""
    return f">= {wanted:,} {unit} asked: {'met' if value >= wanted else 'missed'}"


def at_most(value: float, wanted: float, unit: str) -> str:
    return f"<= {wanted:,} {unit} asked: {'met' if value <= wanted else 'missed'}"

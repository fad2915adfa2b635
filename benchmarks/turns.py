"""Rows of `benchmarks.train`: run in turn, compared turn by turn, written as Markdown."""

import dataclasses
import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import processes
from benchmarks.peers import Report
from benchmarks.processes import RunError
from benchmarks.rows import table
from components.base import console

HEAD = ("what", "images/s", "lowest", "highest", "ours / this", "loss, 2nd pass", "remarks")
_SLOW_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Row:
    """Something to measure.

    Attributes:
      task: one of `benchmarks.train_tasks`.
      arguments: the task's.
      judged: says of the ratio ours / this whether it is what was asked.
      missing: why it cannot be measured, if so.
    """

    name: str
    task: str
    arguments: dict[str, Any]
    judged: Callable[[float], str] = lambda _: ""
    missing: str = ""


Result = list[Report] | str  # a text says why there are no reports


def measure(rows: Sequence[Row], repeats: int) -> list[Result]:
    """Runs all rows in turn, `repeats` times; a slow one once, unless it is the first: ours."""
    results: dict[str, Result] = {row.name: row.missing or [] for row in rows}
    slow: set[str] = set()
    for _ in range(repeats):
        for row in rows:
            reports = results[row.name]
            if isinstance(reports, str) or row.name in slow:
                continue
            console.say(f"bench: {row.name}")
            arguments = json.dumps(row.arguments)
            command = processes.python("benchmarks.train_tasks", row.task, arguments)
            try:
                run = processes.run(command, sample_memory=False)
            except RunError as error:
                results[row.name] = f"failed: {error}"
                continue
            reports.append(run.report)
            if run.wall > _SLOW_SECONDS and row is not rows[0]:
                slow.add(row.name)
    return [results[row.name] for row in rows]


def section(title: str, rows: Sequence[Row], repeats: int) -> str:
    """A titled table of rows, of which the first is ours."""
    return f"**{title}**\n\n{compared(rows, measure(rows, repeats))}"


def compared(rows: Sequence[Row], results: Sequence[Result]) -> str:
    """A table in which the first row is compared with every other.

    Ratios are the medians of those of each turn, as a machine's speed changes from turn to turn.
    """
    first = [] if isinstance(results[0], str) else _rates(results[0])
    lines = []
    for row, result in zip(rows, results, strict=True):
        if isinstance(result, str):
            lines.append([row.name, *[""] * (len(HEAD) - 2), result])
            continue
        rates = _rates(result)
        ratio, remarks = "", []
        if first and row is not rows[0]:
            # A slow row has fewer turns.
            value = statistics.median(ours / this for ours, this in zip(first, rates, strict=False))
            ratio = f"{value:.2f}"
            remarks.append(row.judged(value))
        if flops := result[0].get("flops"):
            speed = statistics.median(rates) * flops / 1e9
            remarks.append(f"{speed:,.0f} GFLOP/s over {flops / 1e6:.2f} MFLOP an image")
        if len(result) == 1:
            remarks.append("one run")
        lines.append(
            [
                row.name,
                *(f"{each:,.0f}" for each in (statistics.median(rates), min(rates), max(rates))),
                ratio,
                f"{result[0]['loss']:.1f}" if "loss" in result[0] else "",
                "; ".join(filter(None, remarks)),
            ]
        )
    return table(HEAD, lines)


def _rates(reports: Sequence[Report]) -> list[float]:
    """Images per second of each run."""
    return [report["images"] / report["seconds"] for report in reports]

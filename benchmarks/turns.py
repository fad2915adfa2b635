"""The measurements of `benchmarks.train`: all rows run in turn and are compared turn by turn."""

import shutil
import statistics
from collections.abc import Sequence

from benchmarks.processes import CommandError
from benchmarks.rows import BenchmarkRow, run_task
from benchmarks.tables import table
from benchmarks.tasks.reports import Report
from components.base import console

HEAD = ("what", "images/s", "lowest", "highest", "ours / this", "loss, 2nd pass", "remarks")
_SLOW_SECONDS = 60.0

ReportsOrReason = list[Report] | str  # A string is the reason why there are no reports.


def measure(rows: Sequence[BenchmarkRow], repeats: int) -> list[ReportsOrReason]:
    """Runs all rows in turn, `repeats` times; a slow row once, unless it is the first, ours."""
    results: dict[str, ReportsOrReason] = {row.name: row.missing or [] for row in rows}
    slow: set[str] = set()
    for _ in range(repeats):
        for row in rows:
            reports = results[row.name]
            if isinstance(reports, str) or row.name in slow:
                continue
            console.say(f"bench: {row.name}")
            try:
                run = run_task(row.task, row.arguments, sample_memory=False)
            except CommandError as error:
                results[row.name] = f"failed: {error}"
                continue
            finally:
                if row.output:
                    shutil.rmtree(row.output, ignore_errors=True)
            reports.append(run.report)
            if run.wall > _SLOW_SECONDS and row is not rows[0]:
                slow.add(row.name)
    return [results[row.name] for row in rows]


def section(title: str, rows: Sequence[BenchmarkRow], repeats: int) -> str:
    """Measures rows, the first of which is ours; a titled table."""
    return f"**{title}**\n\n{comparison_table(rows, measure(rows, repeats))}"


def comparison_table(rows: Sequence[BenchmarkRow], results: Sequence[ReportsOrReason]) -> str:
    """A table that compares the first row with every other.

    A ratio is the median of the ratios of all turns, since a machine's speed changes between turns.
    """
    our_rates = [] if isinstance(results[0], str) else _rates(results[0])
    lines = []
    for row, result in zip(rows, results, strict=True):
        if isinstance(result, str):
            lines.append([row.name, *[""] * (len(HEAD) - 2), result])
            continue
        rates = _rates(result)
        ratio, remarks = "", []
        if our_rates and row is not rows[0]:
            # Not strict: a slow row has fewer turns.
            ratios = [ours / this for ours, this in zip(our_rates, rates, strict=False)]
            value = statistics.median(ratios)
            ratio = f"{value:.2f}"
            remarks.append(row.judge(value))
        if flops := result[0].get("flops"):
            speed = statistics.median(rates) * flops / 1e9
            remarks.append(f"{speed:,.0f} GFLOP/s at {flops / 1e6:.2f} MFLOP per image")
        if len(result) == 1:
            remarks.append("one run")
        lines.append(
            [
                row.name,
                *(f"{rate:,.0f}" for rate in (statistics.median(rates), min(rates), max(rates))),
                ratio,
                f"{result[0]['loss']:.1f}" if "loss" in result[0] else "",
                "; ".join(filter(None, remarks)),
            ]
        )
    return table(HEAD, lines)


def _rates(reports: Sequence[Report]) -> list[float]:
    """Images per second of each run."""
    return [report["images"] / report["seconds"] for report in reports]

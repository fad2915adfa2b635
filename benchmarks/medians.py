"""The measurements of `benchmarks.prepare`: medians of the speed and memory of each row."""

import dataclasses
import shutil
import statistics
from collections import defaultdict
from collections.abc import Sequence

from benchmarks.processes import CommandError, CommandRun
from benchmarks.rows import BenchmarkRow, run_task
from benchmarks.tables import table
from components.base import console

HEAD = (
    "what", "images", "images/s", "per core", "wall, s", "largest process, MB",
    "all processes, MB", "ours / this", "remarks",
)  # fmt: skip
_SLOW_SECONDS = 20.0


@dataclasses.dataclass(frozen=True)
class Medians:
    """The medians of a row's runs.

    Attributes:
      images: number of images that a run handles.
      rate: images/s, without imports.
      first_rate: images/s of the first of several passes; 0 if there was only one.
      wall: seconds, with imports.
      largest: bytes, of the largest process.
      total: bytes, of all processes together.
    """

    images: int
    rate: float
    first_rate: float
    wall: float
    largest: float
    total: float

    @staticmethod
    def of(timed: Sequence[CommandRun], sampled: Sequence[CommandRun]) -> "Medians":
        """The speed of the timed runs and the memory of the sampled ones."""
        reports = [run.report for run in timed]
        first_rates = [r["images"] / r["first_seconds"] for r in reports if "first_seconds" in r]
        return Medians(
            images=reports[0]["images"],
            rate=statistics.median(r["images"] / r["seconds"] for r in reports),
            first_rate=statistics.median(first_rates) if first_rates else 0.0,
            wall=statistics.median(run.wall for run in timed),
            largest=statistics.median(run.peaks.largest for run in sampled),
            total=statistics.median(run.peaks.total for run in sampled),
        )


MediansOrReason = Medians | str  # A string is the reason why there are no medians.


def measure(
    rows: Sequence[BenchmarkRow], *, repeats: int, for_memory: bool = False
) -> list[MediansOrReason]:
    """Runs all rows in turn: once to sample their memory, then `repeats` times for their speed.

    A slow peer runs once. With `for_memory` every run samples memory, and its speed is only a rough
    figure.
    """
    sampled: dict[str, list[CommandRun]] = defaultdict(list)
    timed: dict[str, list[CommandRun]] = defaultdict(list)
    results: dict[str, MediansOrReason] = {row.name: row.missing for row in rows if row.missing}
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
            except CommandError as error:
                results[row.name] = f"failed: {error}"
            finally:
                if row.output:
                    shutil.rmtree(row.output, ignore_errors=True)
    for row in rows:
        if row.name not in results:
            memory_runs = sampled[row.name]
            results[row.name] = Medians.of(timed[row.name] or memory_runs, memory_runs)
    return [results[row.name] for row in rows]


def section(
    title: str,
    rows: Sequence[BenchmarkRow],
    results: Sequence[MediansOrReason],
    *,
    remarks: Sequence[str] = (),
    cores: Sequence[int] = (),
    extra_lines: Sequence[Sequence[str]] = (),
) -> str:
    """A titled table that compares the first row of ours with every peer.

    Args:
      title: printed above the table.
      rows: what was measured.
      results: the row's medians, or why there are none.
      remarks: on the first rows.
      cores: number of cores that each row uses; if given, rates per core are shown and compared.
      extra_lines: cells of lines below the rows.
    """

    def speed(number: int, medians: Medians) -> float:
        return medians.rate / (cores[number] if cores else 1)

    our_speed = next(
        (
            speed(number, result)
            for number, (row, result) in enumerate(zip(rows, results, strict=True))
            if row.is_ours and isinstance(result, Medians)
        ),
        None,
    )
    lines = []
    for number, (row, result) in enumerate(zip(rows, results, strict=True)):
        if isinstance(result, str):
            lines.append([row.name, *[""] * (len(HEAD) - 2), result])
            continue
        row_remarks = [*remarks[number : number + 1]]
        ratio = ""
        if our_speed and not row.is_ours:
            value = our_speed / speed(number, result)
            ratio = f"{value:.2f}"
            row_remarks.append(row.judge(value))
        if result.first_rate:
            row_remarks.append(f"first pass {result.first_rate:,.0f}")
        lines.append(
            [
                row.name,
                f"{result.images:,}",
                f"{result.rate:,.0f}",
                f"{speed(number, result):,.0f}" if cores else "",
                f"{result.wall:.1f}",
                f"{result.largest / 1e6:,.0f}",
                f"{result.total / 1e6:,.0f}" if result.total else "",
                ratio,
                "; ".join(filter(None, row_remarks)),
            ]
        )
    return f"**{title}**\n\n{table(HEAD, [*lines, *extra_lines])}"

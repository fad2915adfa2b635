"""Markdown tables, and remarks on whether a figure reaches its target."""

from collections.abc import Sequence


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """An aligned Markdown table; the inner columns hold numbers and are right-aligned."""
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


def at_least(value: float, target: float, unit: str) -> str:
    """A remark: the target, and whether a figure reaches it."""
    return f"target >= {target:,} {unit}: {'met' if value >= target else 'missed'}"


def at_most(value: float, target: float, unit: str) -> str:
    """A remark: the limit, and whether a figure keeps it."""
    return f"target <= {target:,} {unit}: {'met' if value <= target else 'missed'}"

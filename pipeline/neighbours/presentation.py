"""Presents the result of a search: a table for people, records for programs, tiles of a sheet."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from components.base import console
from components.base.errors import WorkError
from components.data.class_names import displayed
from components.ingest import decode
from components.ingest.rejection import UnusableError
from pipeline.neighbours.searches import DISTANCE, Match, SearchResult
from pipeline.neighbours.sheet import CaptionedImage
from pipeline.neighbours.tables import EmbeddingRows

IMAGE = "image"
# Rows of a group that people see.
_MAX_MEMBERS = 12
_GROUP = "group"


def shown(found: SearchResult, count: int) -> list[list[Match]]:
    """The groups, and the rows of each, that people see: at most the first `count` groups."""
    if not found.is_grouped:
        return found.groups
    return [group[:_MAX_MEMBERS] for group in found.groups[:count]]


def table(found: SearchResult, count: int) -> str:
    """A table with a row for each match that people see, and a summary below it."""
    records = list(_records(shown(found, count), found.is_grouped))
    names = list(dict.fromkeys(name for record in records for name in record))
    cells = [names, *([_text(record.get(name)) for name in names] for record in records)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
        if row
    ]
    return "\n".join([*lines, found.summary + _omitted(found, count)])


def records(found: SearchResult) -> Iterator[dict[str, Any]]:
    """All matches as JSON values, in order."""
    return _records(found.groups, found.is_grouped)


def tiles(found: SearchResult, count: int, rows: EmbeddingRows) -> list[list[CaptionedImage]]:
    """The images that people see, with captions; the tables must have the column of images.

    Raises:
      WorkError: an image in the tables cannot be decoded.
    """
    groups = shown(found, count)
    numbers = [match.row for group in groups for match in group if match.row is not None]
    encoded = iter(row[IMAGE] for row in rows.read(numbers, IMAGE))
    drawn: list[list[CaptionedImage]] = []
    for group in groups:
        drawn.append([])
        for match in group:
            pixels = match.pixels
            if match.row is not None:
                pixels = _decoded(next(encoded), match, rows)
            if pixels is not None:
                drawn[-1].append(CaptionedImage(pixels, _caption(match, found.measure)))
    return drawn


def _records(groups: Sequence[Sequence[Match]], is_grouped: bool) -> Iterator[dict[str, Any]]:
    for number, group in enumerate(groups, start=1):
        for match in group:
            values = {name: _finite(value) for name, value in match.values.items()}
            yield {_GROUP: number, **values} if is_grouped else values


def _finite(value: Any) -> Any:
    """A value that JSON can represent."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else console.visible(str(value))


def _omitted(found: SearchResult, count: int) -> str:
    """A remark on the rows that people do not see."""
    if not found.is_grouped:
        return ""
    if len(found.groups) <= count and all(len(group) <= _MAX_MEMBERS for group in found.groups):
        return ""
    return f"; the {count:,} nearest groups are shown, with at most {_MAX_MEMBERS} rows"


def _decoded(encoded: bytes | None, match: Match, rows: EmbeddingRows) -> Any:
    try:
        return decode.decode(encoded or b"")
    except UnusableError as error:
        raise WorkError(
            f"the image of row {match.row:,} of {rows.artifact.path} cannot be shown: {error}; "
            "embed the images again"
        ) from None


def _caption(match: Match, measure: str) -> tuple[str, str]:
    """Two lines: the class, and the value that the rows are sorted by."""
    name, value = match.values.get("label_name"), match.values[measure]
    if name is None:
        name = str(match.values.get("id", ""))
    (text,), is_replaced = displayed([name])
    if is_replaced:
        text = f"class {match.values.get('label')}"
    symbol = "d" if measure == DISTANCE else "score"
    return text, f"{symbol} {value:.4g}"

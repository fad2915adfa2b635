"""Contact sheets of search results: images with captions, drawn with Pillow."""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from etils import epath
from PIL import Image, ImageDraw

from components.ingest.contact_sheet import (
    COLUMNS,
    GRAY,
    HEADER,
    INK,
    MARGIN,
    MIN_WIDTH,
    TILE,
    font,
    shorten,
    tile,
)

# In pixels: the gap between images, and the height of a line of a caption.
_GAP, _LINE = 12, 15
_CAPTION_SIZE = 11


@dataclasses.dataclass(frozen=True)
class CaptionedImage:
    """An image with a caption.

    Attributes:
      pixels: uint8, shape [height, width, 1 or 3].
      caption: lines of text.
    """

    pixels: np.ndarray
    caption: Sequence[str]


def draw(
    path: epath.PathLike, groups: Sequence[Sequence[CaptionedImage]], *, title: str, subtitle: str
) -> None:
    """Writes a contact sheet: each group begins a new row of images.

    Args:
      path: the PNG file to write; equal arguments give equal bytes.
      groups: the images, at least one.
      title, subtitle: the two lines at the top; each is cut at the edge.
    """
    rows = [
        group[first : first + COLUMNS]
        for group in groups
        for first in range(0, len(group), COLUMNS)
    ]
    pictures = [[tile(each.pixels) for each in row] for row in rows]
    sizes = [picture.size for row in pictures for picture in row]
    cell_width = max(TILE, *(width for width, _ in sizes)) + _GAP
    lines = max(len(each.caption) for row in rows for each in row)
    row_height = max(height for _, height in sizes) + lines * _LINE + _GAP
    width = max(MIN_WIDTH, 2 * MARGIN + max(map(len, rows)) * cell_width)
    is_gray = all(picture.mode == "L" for row in pictures for picture in row)
    sheet = Image.new(
        "L" if is_gray else "RGB", (width, 2 * MARGIN + HEADER + len(rows) * row_height), "white"
    )
    pen, title_font, caption_font = (
        ImageDraw.Draw(sheet),
        font("-Bold", 24),
        font("", _CAPTION_SIZE),
    )
    pen.text((MARGIN, MARGIN), shorten(title, width - 2 * MARGIN, title_font), INK, title_font)
    pen.text((MARGIN, MARGIN + 37), shorten(subtitle, width - 2 * MARGIN, font()), GRAY, font())
    for number, row in enumerate(rows):
        top = MARGIN + HEADER + number * row_height
        for column, each in enumerate(row):
            picture, left = pictures[number][column], MARGIN + column * cell_width
            sheet.paste(picture.convert(sheet.mode), (left, top))
            for line, text in enumerate(each.caption):
                place = (left, top + picture.height + 2 + line * _LINE)
                pen.text(place, shorten(text, cell_width - 4, caption_font), INK, caption_font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    epath.Path(path).write_bytes(buffer.getvalue())

"""Contact sheets: a picture with examples of each class of a split, drawn with Pillow."""

import functools
import io
import itertools
from collections.abc import Sequence

import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont, ImageOps

from components.base.arithmetic import ceil_div
from components.data.class_names import display_order, displayed, font_file
from components.data.examples import ExampleBatch

COLUMNS, ROWS, MAX_CLASSES = 12, 10, 20
# All in pixels. TILE is the longest side of an image; HEADER and LINE are the heights of the title
# with its subtitle and of a line of text; LABEL is the width of the column of class names.
TILE, GUTTER, MARGIN, MIN_WIDTH = 96, 4, 36, 800
HEADER, LINE, LABEL = 76, 21, 250
_MAX_NAME = 300  # Characters; `shorten` fits a name into its column.
INK, GRAY, PALE = "#1a1a1a", "#707070", "#c8c8c8"


def examples_per_class(num_classes: int) -> int:
    """The maximum number of examples of a class on a sheet: several rows if the classes are few."""
    return COLUMNS * max(1, ROWS // num_classes)


def choose(labels: np.ndarray, *, num_classes: int, per_class: int) -> list[np.ndarray]:
    """Chooses the first examples of each class: a fair sample, since shards are ordered by hash.

    Args:
      labels: integers, shape [N]; those outside 0..num_classes - 1 are skipped.

    Returns:
      For each class, at most `per_class` indices into `labels`, in ascending order.
    """
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(num_classes + 1))
    return [order[start:stop][:per_class] for start, stop in itertools.pairwise(bounds)]


def draw(
    path: epath.PathLike,
    examples: ExampleBatch,
    *,
    title: str,
    class_names: Sequence[str],
    counts: Sequence[int] | np.ndarray,
) -> None:
    """Writes a contact sheet of the first MAX_CLASSES classes that have examples.

    Each class has its name and number of examples at the left, and images at the right. A name that
    the font cannot write is replaced by the number of the class, and a note says so.

    Args:
      path: the PNG file to write; equal arguments give equal bytes.
      examples: examples of the split; those of `choose` with `examples_per_class` suffice.
      title: the names of the dataset and the split.
      class_names: names of the classes, by label.
      counts: numbers of examples in the whole split, by label.
    """
    num_classes, per_class = len(class_names), examples_per_class(len(class_names))
    chosen = choose(examples.labels, num_classes=num_classes, per_class=per_class)
    names, note = displayed(class_names, max_length=_MAX_NAME)
    shown = [label for label in display_order(class_names) if len(chosen[label])][:MAX_CLASSES]
    most = max((len(chosen[label]) for label in shown), default=0)
    blank = tile(np.zeros(examples.shape, np.uint8))  # Any tile has the mode and the size of all.
    width = max(MIN_WIDTH, 2 * MARGIN + LABEL + min(most, COLUMNS) * (blank.width + GUTTER))
    class_height = max(2 * LINE, ceil_div(most, COLUMNS) * (blank.height + GUTTER)) + 2 * GUTTER
    height = 2 * MARGIN + HEADER + len(shown) * class_height
    sheet = Image.new(blank.mode, (width, height), "white")

    pen, title_font = ImageDraw.Draw(sheet), font("-Bold", 24)
    pen.text((MARGIN, MARGIN), shorten(title, width - 2 * MARGIN, title_font), INK, title_font)
    shape, classes = "×".join(map(str, examples.shape)), f"{len(shown)} of {num_classes:,} classes"
    facts = " · ".join(filter(None, (f"{sum(map(int, counts)):,} examples", shape, classes, note)))
    pen.text((MARGIN, MARGIN + 37), facts, GRAY, font())
    for position, label in enumerate(shown):
        top = MARGIN + HEADER + position * class_height
        text_top = top + max(0, blank.height - 2 * LINE) // 2
        name = shorten(names[label], LABEL - MARGIN, font())
        pen.text((MARGIN, text_top), name, INK, font())
        pen.text((MARGIN, text_top + LINE), f"{counts[label]:,}", GRAY, font())
        for index, example in enumerate(chosen[label]):
            row, column = divmod(index, COLUMNS)
            left = MARGIN + LABEL + column * (blank.width + GUTTER)
            place = (left, top + row * (blank.height + GUTTER))
            sheet.paste(tile(examples.images[example]), place)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    epath.Path(path).write_bytes(buffer.getvalue())


def tile(image: np.ndarray) -> Image.Image:
    """An image, enlarged by an integer or reduced to TILE, in a frame that shows its edges."""
    longest = max(image.shape[:2])
    scale = TILE // longest or TILE / longest  # A fraction if the image is larger than TILE.
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    width, height = (max(1, round(scale * side)) for side in picture.size)
    resampling = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.HAMMING
    return ImageOps.expand(picture.resize((width, height), resampling), 1, PALE)


@functools.cache
def font(style: str = "", size: int = 16) -> ImageFont.FreeTypeFont:
    """The font of the other figures; Pillow's has few letters."""
    return ImageFont.truetype(font_file(style), size)


def shorten(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """The text in one line of at most `width` pixels, with an ellipsis if it is cut."""
    # Line breaks, and bytes of file names that are not UTF-8, raise errors in Pillow.
    text = " ".join(text.encode(errors="replace").decode().split())[:300]
    if font.getlength(text) <= width:
        return text
    while font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"

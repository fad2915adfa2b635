"""Contact sheets: examples of each class of a split, on one picture.

Drawn with Pillow alone, in a tenth of a second; importing matplotlib takes longer than that, and so
it is not done, though the font is the one that it brings and the other figures use.
"""

import dataclasses
import functools
import importlib.metadata
import io
import itertools
import zlib
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont

from components.data.examples import ExampleBatch

# All in pixels.
WIDTH, HEIGHT = 1600, 2400  # of the largest sheet
MARGIN, GUTTER = 36, 6
LARGEST = 128  # side of an image, else it is reduced
ENLARGED = 96  # side up to which images are enlarged
HEADER = 76  # from the title's top to the images
LINE = 21  # from a line of text to the next
LABEL = 240  # the widest column of class names
READABLE = 100  # of a name, where its images or its count would leave it less

COLUMNS = 16
LINES = 10  # of images, where classes are too few to fill as many
MOST_ROWS = 20  # of classes below each other, else they stand side by side
INK, GRAY, PALE = "#1a1a1a", "#707070", "#e4e4e4"


@dataclasses.dataclass
class Sheet:
    """What stands where, from the top left of the images.

    Attributes:
      tile: (width, height) of an image.
      tiles: (x, y, the example's row) of each image.
      texts: (x, y, text, colour) of each text.
    """

    tile: tuple[int, int]
    tiles: list[tuple[int, int, int]] = dataclasses.field(default_factory=list)
    texts: list[tuple[int, int, str, str]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Class:
    """A class, how many examples of it the split has, and rows of some of them."""

    name: str
    count: int
    rows: list[int]


def examples_per_class(num_classes: int) -> int:
    """How many examples of a class a sheet of so many classes shows at most."""
    return COLUMNS * max(1, LINES // num_classes)


def choose(labels: np.ndarray, *, num_classes: int, per_class: int) -> list[np.ndarray]:
    """The rows of the first examples of each class, in the order given.

    In the order of the shards, which is that of a digest, the first are a fair sample.

    Args:
      labels: integers, shape [N]; those of no class are passed over.

    Returns:
      By class, at most `per_class` indices into `labels`, increasing.
    """
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(num_classes + 1))
    return [order[first:last][:per_class] for first, last in itertools.pairwise(bounds)]


def draw(
    path: epath.PathLike,
    block: ExampleBatch,
    *,
    title: str,
    class_names: Sequence[str],
    counts: Sequence[int] | np.ndarray,
) -> None:
    """Writes a contact sheet to a PNG file; the same input gives the same bytes.

    Up to 20 classes have a row each, or several where the classes are few; more stand side by side,
    each with its name above. Classes of which the block has no example are left out, and so are
    the last where even one example of each does not fit: the line below the title says how many.

    Args:
      block: examples of the split; `choose` and `examples_per_class` say which suffice.
      title: the dataset and the split; the number of examples, their size and the number of
        classes stand below it.
      class_names: by label.
      counts: examples of each class in the whole split, by label.
    """
    num_classes = len(class_names)
    chosen = choose(
        block.labels, num_classes=num_classes, per_class=examples_per_class(num_classes)
    )
    classes = [
        Class(_one_line(name), int(count), rows.tolist())
        for name, count, rows in zip(class_names, counts, chosen, strict=True)
        if len(rows)
    ]
    tile = _tile_size(block.shape)
    most_rows = _fitting(HEIGHT - 2 * MARGIN - HEADER, max(tile[1], 2 * LINE), GUTTER)
    if len(classes) <= min(MOST_ROWS, most_rows):
        sheet, num_shown = _below_each_other(classes, tile), len(classes)
    else:
        sheet, num_shown = _side_by_side(classes, tile)
    shown = f"{num_shown:,} of " if num_shown < num_classes else ""
    facts = [
        _plural(sum(map(int, counts)), "example"),
        "×".join(map(str, block.shape)),
        shown + _plural(num_classes, "class"),
    ]
    picture = _render(sheet, block.images, title, " · ".join(facts))
    buffer = io.BytesIO()
    # Enlarged images are runs of equal pixels: so this is the fastest, and no larger than others.
    picture.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    epath.Path(path).write_bytes(buffer.getvalue())


def _tile_size(shape: tuple[int, int, int]) -> tuple[int, int]:
    """(width, height) of an image on the sheet: enlarged by a whole number, or reduced."""
    height, width, _ = shape
    longest = max(height, width)
    if longest > LARGEST:
        return max(1, width * LARGEST // longest), max(1, height * LARGEST // longest)
    scale = max(1, ENLARGED // longest)
    return scale * width, scale * height


def _below_each_other(classes: list[Class], tile: tuple[int, int]) -> Sheet:
    """Each class in rows of its own, its name at their left."""
    sheet, top = Sheet(tile), 0
    names = [_shorten(item.name, LABEL) for item in classes]
    counts = [f"{item.count:,}" for item in classes]
    left = 3 * GUTTER + max(map(_length, names + counts), default=0)
    columns = min(COLUMNS, _fitting(WIDTH - 2 * MARGIN - left, tile[0], GUTTER))
    lines = max(1, LINES // max(1, len(classes)))
    for item, name, count in zip(classes, names, counts, strict=True):
        middle = top + max(0, tile[1] - 2 * LINE) // 2
        sheet.texts += [(0, middle, name, INK), (0, middle + LINE, count, GRAY)]
        rows = item.rows[: columns * lines]
        for number, row in enumerate(rows):
            line, column = divmod(number, columns)
            x, y = left + column * (tile[0] + GUTTER), top + line * (tile[1] + GUTTER)
            sheet.tiles.append((x, y, row))
        height = -(-len(rows) // columns) * (tile[1] + GUTTER)
        top += max(height, 2 * LINE + GUTTER) + (2 * GUTTER if lines > 1 else 0)
    return sheet


def _side_by_side(classes: list[Class], tile: tuple[int, int]) -> tuple[Sheet, int]:
    """Each class as a strip of images, its name above; as many images as fit, and classes."""
    gap, deep = 3 * GUTTER, LINE + 2 + tile[1]
    for images in (8, 6, 5, 4, 3, 2, 1):
        wide = max(READABLE, images * (tile[0] + GUTTER) - GUTTER)
        columns = _fitting(WIDTH - 2 * MARGIN, wide, gap)
        lines = _fitting(HEIGHT - 2 * MARGIN - HEADER, deep, 2 * GUTTER)
        if columns * lines >= len(classes):
            break
    sheet, shown = Sheet(tile), classes[: columns * lines]
    for number, item in enumerate(shown):
        line, column = divmod(number, columns)
        left, top = column * (wide + gap), line * (deep + 2 * GUTTER)
        count = f"{item.count:,}"
        room = wide - GUTTER - _length(count)
        # Where both do not fit, the name is worth more than the count.
        counted = room >= min(READABLE, _length(item.name))
        name = _shorten(item.name, room if counted else wide)
        sheet.texts.append((left, top, name, INK))
        if counted:
            sheet.texts.append((left + _length(name) + GUTTER, top, count, GRAY))
        for place, row in enumerate(item.rows[:images]):
            sheet.tiles.append((left + place * (tile[0] + GUTTER), top + LINE + 2, row))
    return sheet, len(shown)


def _render(sheet: Sheet, images: np.ndarray, title: str, subtitle: str) -> Image.Image:
    title = _shorten(_one_line(title), WIDTH - 2 * MARGIN, title=True)
    width, height = _size(sheet)
    width = max(width, 2 * MARGIN + max(_length(title, title=True), _length(subtitle)))
    gray = images.shape[-1] == 1
    picture = Image.new("L" if gray else "RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((MARGIN, MARGIN), title, INK, _font(title=True), anchor="la")
    pen.text((MARGIN, MARGIN + 37), subtitle, GRAY, _font(), anchor="la")
    for x, y, text, color in sheet.texts:
        pen.text((MARGIN + x, MARGIN + HEADER + y), text, color, _font(), anchor="la")
    reduced = sheet.tile[0] < images.shape[2]
    resampling = Image.Resampling.HAMMING if reduced else Image.Resampling.NEAREST
    for x, y, row in sheet.tiles:
        tile = Image.fromarray(images[row, ..., 0] if gray else images[row])
        x, y = MARGIN + x, MARGIN + HEADER + y
        # A hairline, so that white images end somewhere.
        pen.rectangle((x - 1, y - 1, x + sheet.tile[0], y + sheet.tile[1]), outline=PALE)
        picture.paste(tile.resize(sheet.tile, resampling), (x, y))
    return picture


def _size(sheet: Sheet) -> tuple[int, int]:
    """(width, height) of the picture, without its title."""
    right = [x + sheet.tile[0] for x, _, _ in sheet.tiles]
    right += [x + _length(text) for x, _, text, _ in sheet.texts]
    bottom = [y + sheet.tile[1] for _, y, _ in sheet.tiles]
    bottom += [y + LINE for _, y, _, _ in sheet.texts]
    return 2 * MARGIN + max(right, default=0), 2 * MARGIN + HEADER + max(bottom, default=0)


def _fitting(length: int, part: int, gap: int) -> int:
    """How many parts fit into a length, with gaps between them; at least one."""
    return max(1, (length + gap) // (part + gap))


@functools.cache
def _font(title: bool = False) -> ImageFont.FreeTypeFont:
    # Pillow's own font has the letters of English alone.
    fonts = "matplotlib/mpl-data/fonts/ttf"
    file = importlib.metadata.distribution("matplotlib").locate_file(
        f"{fonts}/DejaVuSans-Bold.ttf" if title else f"{fonts}/DejaVuSans.ttf"
    )
    return ImageFont.truetype(str(file), 24 if title else 16)


def _length(text: str, title: bool = False) -> int:
    return int(np.ceil(_font(title).getlength(text)))


def _one_line(text: str) -> str:
    """The text without line breaks, nor bytes of file names that are no UTF-8: both stop Pillow."""
    return " ".join(text.encode(errors="replace").decode().split())


def _shorten(text: str, width: int, title: bool = False) -> str:
    """The text, or as much of its beginning as fits into so many pixels, and an ellipsis."""
    text = text[:WIDTH]
    if _length(text, title) <= width:
        return text
    longest = bisect_right(
        range(len(text)), width, key=lambda end: _length(text[:end] + "…", title)
    )
    return text[: max(0, longest - 1)].rstrip() + "…"


def _plural(number: int, noun: str) -> str:
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"

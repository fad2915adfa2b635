"""How pictures show the names of classes: in an order and in letters that can be read.

The labels of a dataset stay as they are.
"""

import functools
import importlib.metadata
import re
import unicodedata
from collections.abc import Sequence

_MAX_LENGTH = 32  # Characters of a name in a picture.
_FONT_STYLES = ("", "-Bold")


def display_order(names: Sequence[str]) -> list[int]:
    """The labels in the order in which to show their classes.

    Names in alphabetical order, which most folders of images have, are shown in natural order: `2`
    before `10`. Any other order is the dataset's own, and stays.
    """
    labels = list(range(len(names)))
    if list(names) != sorted(names):
        return labels
    return sorted(labels, key=lambda label: _natural_key(names[label]))


def displayed(names: Sequence[str], *, max_length: int = _MAX_LENGTH) -> tuple[list[str], str]:
    """The names as pictures show them.

    Long names are cut in the middle, since names often differ at their ends. A name with a letter
    that the font of the pictures lacks is replaced by the number of the class.

    Args:
      names: names of the labels, by label.
      max_length: largest number of characters of a text.

    Returns:
      The texts to show, by label; and a note on names that were replaced, empty if there are none.
    """
    texts, num_replaced = [], 0
    for label, name in enumerate(names):
        # Names of files may hold line breaks, bytes that are not UTF-8, and letters in two parts.
        text = name.encode(errors="replace").decode()
        text = unicodedata.normalize("NFC", " ".join(text.split()))
        if not _has_glyphs(text):
            text = f"class {label}"
            num_replaced += 1
        texts.append(_cut(text, max_length))
    if not num_replaced:
        return texts, ""
    subject = "1 class name is" if num_replaced == 1 else f"{num_replaced:,} class names are"
    return texts, f"{subject} shown as numbers: the font lacks letters"


def alike(names: Sequence[str]) -> list[list[str]]:
    """Groups of names that differ only in their Unicode form, such as `é` in one part or in two.

    Letters of full and of half width are alike too.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(unicodedata.normalize("NFKC", name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def font_file(style: str = "") -> str:
    """The path of the font of all pictures, found without importing matplotlib.

    Args:
      style: "" or "-Bold".
    """
    package = importlib.metadata.distribution("matplotlib")
    return str(package.locate_file(f"matplotlib/mpl-data/fonts/ttf/DejaVuSans{style}.ttf"))


def _natural_key(name: str) -> list[tuple[int, int, str]]:
    """A sort key that compares runs of digits as numbers, and sorts them before letters."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts]


def _has_glyphs(text: str) -> bool:
    """Whether the font has all characters of a text, which must not be empty."""
    if text.isascii():
        return bool(text) and text.isprintable()
    return all(ord(character) in _code_points() for character in text)


@functools.cache
def _code_points() -> frozenset[int]:
    """The characters of the font, in all its styles."""
    from fontTools.ttLib import TTFont

    styles = []
    for style in _FONT_STYLES:
        with TTFont(font_file(style), lazy=True) as font:
            styles.append(set(font["cmap"].getBestCmap()))
    return frozenset(set.intersection(*styles))


def _cut(text: str, max_length: int) -> str:
    if len(text) <= max_length:
        return text
    end = max_length // 2
    return f"{text[: max_length - end - 1]}…{text[-end:]}"

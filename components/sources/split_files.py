"""Finds files whose names say that they are held out: `test_040.png` beside `train_000.png`.

File names do not define splits, so without folders of splits such images would join train.
"""

import re
import unicodedata
from collections.abc import Collection

from components.sources.split_names import SplitCandidate, read_siblings

# In the place of digits, so that numbered files have few different names.
_WITHOUT_DIGITS = str.maketrans(dict.fromkeys("0123456789", "_"))
# A fast filter: names that may have a word for a split.
_CANDIDATE = re.compile(
    r"train|trn|te?st|val|dev|h[eo]ld|(?<![a-z])(?:t[ers]|va)(?![a-z])", re.IGNORECASE
)


def find_held_out(names: Collection[str]) -> list[str]:
    """The names of files that say validation or test.

    They do if their other words say nothing (`test_040.png`, `img-val-3.png`), or are those of
    files for another split (`cats_test_1.png` beside `cats_train_1.png`). `Val_Kilmer.png` doesn't.

    Args:
      names: paths of files relative to the dataset.
    """
    # The forms of all names would take more memory than the names.
    forms = set(map(_form, names))
    candidates = read_siblings(filter(_CANDIDATE.search, forms))
    held_out = {form for form, candidate in candidates.items() if _is_held_out(candidate)}
    return [name for name in names if _form(name) in held_out] if held_out else []


def _is_held_out(candidate: SplitCandidate) -> bool:
    # Single letters are as likely in names that were drawn at random: `286VAL56G1p.jpg`.
    is_plain = candidate.reading.is_plain and all(len(word) > 1 for word in candidate.reading.rest)
    return candidate.reading.split != "train" and (candidate.has_partner or is_plain)


def _form(name: str) -> str:
    """The name of a file without its folder, its extension and its digits."""
    stem, _, extension = name.rpartition("/")[2].rpartition(".")
    form = (stem or extension).translate(_WITHOUT_DIGITS)
    return form if form.isascii() else unicodedata.normalize("NFKC", form)

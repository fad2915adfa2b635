"""Names of files and folders turned into ids, class names and dataset names."""

import re

_MAX_LENGTH = 100

# "%" itself, so that no two names become one; control characters and what separates lines; bytes
# that were no UTF-8 (surrogates); and space at the ends, which TFDS strips from class names.
_ESCAPED = re.compile(r"[%\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|\A\s+|\s+\Z")


def printable(name: str) -> str:
    """A file's name on one line, in UTF-8, what cannot stand there percent-encoded: `a%0Ab`.

    Different names stay different.
    """
    return _ESCAPED.sub(_percent_encoded, name)


def _percent_encoded(match: re.Match[str]) -> str:
    text = match[0]
    # os.fsdecode's stand-ins for single bytes; no file's name holds other surrogates.
    errors = "surrogateescape" if "\udc80" <= text <= "\udcff" else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in text.encode(errors=errors))


def dataset_name(text: str) -> str:
    """A name that TFDS takes for a dataset, made from a folder's: `My-Cats` -> `my_cats`.

    Cut where the names of shards, which begin with it, would be too long for a file system.
    """
    name = re.sub("[^a-z0-9]+", "_", text.lower()).strip("_")
    if not name:
        return "images"
    if not name[0].isalpha():
        name = f"images_{name}"
    return name[:_MAX_LENGTH].rstrip("_")

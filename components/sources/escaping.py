"""Escapes names of files and folders for use as ids, class names and dataset names."""

import re

_MAX_LENGTH = 100

# Control characters and line separators; bytes that are not UTF-8 (lone surrogates, see
# `os.fsdecode`); white space at either end, which TFDS strips from class names; and "%" itself, so
# that the escaping can be undone.
_ESCAPED = re.compile(r"[%\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|\A\s+|\s+\Z")


def escape(name: str) -> str:
    r"""Percent-encodes characters that cannot be printed on one line of UTF-8: `a\nb` -> `a%0Ab`.

    Different names have different results.

    Args:
      name: a file's name or path, as `os.fsdecode` returns it.
    """
    return _ESCAPED.sub(_percent_encode, name)


def _percent_encode(match: re.Match[str]) -> str:
    text = match[0]
    # os.fsdecode maps a byte that is not UTF-8 to U+DC80..U+DCFF. Other surrogates do not occur in
    # file names; they are encoded as if they were characters.
    errors = "surrogateescape" if "\udc80" <= text <= "\udcff" else "surrogatepass"
    return "".join(f"%{byte:02X}" for byte in text.encode(errors=errors))


def to_dataset_name(text: str) -> str:
    """A valid TFDS dataset name from the name of a folder or file: `My-Cats` -> `my_cats`.

    The result is at most 100 characters long: the names of shards begin with it, and file systems
    limit the length of names.
    """
    name = re.sub("[^a-z0-9]+", "_", text.lower()).strip("_")
    if not name:
        return "images"
    if not name[0].isalpha():
        name = f"images_{name}"
    return name[:_MAX_LENGTH].rstrip("_")

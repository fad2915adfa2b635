"""JSON from files that others may have written: bounded, and converted to typed values.

A dataclass describes the JSON object that it is read from: its fields are the keys, and a field
without a default must be there.
"""

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from etils import epath

from components.base import files
from components.base.errors import one_line

T = TypeVar("T")

MAX_DEPTH = 32
_MAX_INTEGER = 2**63 - 1  # Larger numbers do not fit into the integers of NumPy.
_MAX_SHOWN = 40  # Characters of a value in an error message.
_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def load(path: epath.Path, *, max_bytes: int) -> Any:
    """Reads the JSON value in a file.

    Args:
      path: the file.
      max_bytes: the largest size of the file that is read.

    Raises:
      ValueError: it is too large, is not JSON, or is nested too deeply; the message says so.
      WorkError: it is not a regular file.
      OSError: it cannot be read.
    """
    with files.open_regular(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes:,} bytes")
    return parse_text(data)


def parse_text(data: bytes) -> Any:
    """The JSON value in a text.

    Raises:
      ValueError: the text is not JSON, or is nested too deeply; the message says so.
    """
    try:
        value = json.loads(data)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:  # Or the bytes are not UTF-8.
        raise ValueError(f"it is not JSON: {one_line(error, length=100)}") from None
    _check_depth(value, MAX_DEPTH)
    return value


def parse(cls: type[T], value: Any, *, where: str = "") -> T:
    """Converts a JSON value to a type.

    Args:
      cls: a dataclass; `Any`, int, float, str or bool; or lists, dictionaries by text, tuples of a
        fixed length and optional values of them.
      value: the JSON value.
      where: place of the value in its file, for error messages.

    Raises:
      ValueError: a value is of another type, a key is missing or is unknown; the message names its
        place.
    """
    return _parse(cls, value, where)


def _parse(cls: Any, value: Any, where: str) -> Any:
    if cls is Any:
        return value
    if dataclasses.is_dataclass(cls):
        return _parse_object(cls, value, where)
    origin, arguments = typing.get_origin(cls), typing.get_args(cls)
    if origin is types.UnionType:
        return None if value is None else _parse(arguments[0], value, where)
    if origin is dict:
        _check(value, isinstance(value, dict), "an object", where)
        return {
            name: _parse(arguments[1], each, _join(where, name)) for name, each in value.items()
        }
    if origin in (list, tuple):
        _check(value, isinstance(value, list), "a list", where)
        kinds = arguments * len(value) if origin is list else arguments
        _check(value, len(kinds) == len(value), f"a list of {len(kinds)} values", where)
        parts = zip(kinds, value, strict=True)
        return origin(_parse(kind, each, f"{where}[{n}]") for n, (kind, each) in enumerate(parts))
    # In Python, true is an integer.
    accepted = (int, float) if cls is float else cls
    is_right = isinstance(value, accepted) and (cls is bool or not isinstance(value, bool))
    _check(value, is_right, _NAMES[cls], where)
    if isinstance(value, int):
        _check(value, abs(value) <= _MAX_INTEGER, "a number below 2^63", where)
    return value


def _parse_object(cls: Any, value: Any, where: str) -> Any:
    _check(value, isinstance(value, dict), "an object", where)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = _type_hints(cls)
    for name in value.keys() - fields.keys():
        raise ValueError(f"{_join(where, name)} is unknown")
    for name, field in fields.items():
        if name not in value and field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{_join(where, name)} is missing")
    return cls(
        **{name: _parse(hints[name], each, _join(where, name)) for name, each in value.items()}
    )


@functools.cache
def _type_hints(cls: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(cls)


def _check(value: Any, is_right: bool, needed: str, where: str) -> None:
    if not is_right:
        found = repr(value) if isinstance(value, int | float | str | None) else _kind(value)
        found = found if len(found) <= _MAX_SHOWN else f"{found[:_MAX_SHOWN]}…"
        raise ValueError(f"{where or 'its content'} is {found}, not {needed}")


def _kind(value: Any) -> str:
    return "an object" if isinstance(value, dict) else f"a list of {len(value)} values"


def _join(where: str, name: str) -> str:
    """The place of a key in an object, such as `counts.shards`; long keys are cut."""
    shown = name if name.isprintable() and len(name) <= _MAX_SHOWN else f"{name[:_MAX_SHOWN]!r}"
    return f"{where}.{shown}" if where else shown


def _check_depth(value: Any, levels: int) -> None:
    if not levels:
        raise _too_deep()
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            if isinstance(each, dict | list):
                _check_depth(each, levels - 1)


def _too_deep() -> ValueError:
    return ValueError(f"it is nested more than {MAX_DEPTH} levels deep")

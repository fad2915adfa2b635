"""Configs: frozen dataclasses whose fields are command-line options and YAML keys alike."""

import argparse
import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from components.base.errors import ConfigError, nearest

Config = TypeVar("Config")


def option(default: Any, help: str, *, choices: tuple[str, ...] | None = None) -> Any:
    """A field of a config: its default, one line of help, and the values it may have."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


def add_options(
    parser: argparse.ArgumentParser,
    cls: Any,
    *,
    show_defaults: bool = True,
    without: tuple[str, ...] = (),
) -> None:
    """Adds one option a field of `cls`, but for those `without`; options not given leave no trace
    in the namespace."""
    group = parser.add_argument_group((cls.__doc__ or "").split("\n")[0].rstrip("."))
    for field in dataclasses.fields(cls):
        if field.name in without:
            continue
        default = _text(field.default) if show_defaults else ""
        default = f" [{default}]" if default else ""
        group.add_argument(
            f"--{field.name}",
            metavar=_metavar(field),
            default=argparse.SUPPRESS,
            help=field.metadata["help"].replace("%", "%%") + default,
        )


def take(given: dict[str, Any], cls: Any) -> dict[str, Any]:
    """Moves the fields of `cls` out of `given`."""
    names = [name for name in given if name in cls.__dataclass_fields__]
    return {name: given.pop(name) for name in names}


def from_mapping(cls: type[Config], values: Mapping[str, Any], *, where: str) -> Config:
    """A config from texts (a command line) or values (YAML), each converted to its field's type.

    Raises:
      ConfigError: an unknown field (names the nearest), or a value that its field cannot have.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    types_of = typing.get_type_hints(cls)
    converted = {}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(f"unknown field {name!r} in {where}; {nearest(name, fields)}")
        converted[name] = _convert(value, types_of[name], fields[name], where)
    return cls(**converted)


def _convert(value: Any, kind: Any, field: "dataclasses.Field[Any]", where: str) -> Any:
    choices = field.metadata["choices"]
    if choices and value not in choices:
        raise ConfigError(
            f"{field.name} in {where} must be one of {', '.join(choices)}. Received: {value!r}; "
            f"{nearest(str(value), choices)}"
        )
    optional = isinstance(kind, types.UnionType)
    if optional and (value is None or value == "none"):
        return None
    base = typing.get_args(kind)[0] if optional else kind
    try:
        return _CONVERTERS[base](value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(
            f"{field.name} in {where} must be {_NAMES[base]}. Received: {value!r}"
        ) from None


def _number(value: Any) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(value)
    return number


def _integer(value: Any) -> int:
    if isinstance(value, bool) or int(value) != float(value):
        raise ValueError(value)
    return int(value)


def _integers(value: Any) -> tuple[int, ...]:
    """`256,128` or [256, 128]."""
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(_integer(part) for part in (parts if isinstance(parts, list | tuple) else [parts]))


_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    int: _integer,
    float: _number,
    str: str,
    tuple[int, ...]: _integers,
}
_NAMES = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    tuple[int, ...]: "whole numbers with commas between",
}


def _text(default: Any) -> str:
    """A default as one would give it."""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return "" if default is None else str(default)


def _metavar(field: "dataclasses.Field[Any]") -> str:
    if field.metadata["choices"]:
        return "|".join(field.metadata["choices"])
    kind: Any = field.type
    base = typing.get_args(kind)[0] if isinstance(kind, types.UnionType) else kind
    return {int: "N", float: "X", str: "TEXT"}.get(base, "N,N")

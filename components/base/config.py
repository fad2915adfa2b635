"""Configs: frozen dataclasses whose fields are both command-line options and YAML keys."""

import argparse
import dataclasses
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from components.base import command_line
from components.base.errors import ConfigError, nearest

Config = TypeVar("Config")


# Larger numbers are useless, and overflow the integers of NumPy and TensorFlow.
MAX_INTEGER = 2**63 - 1
_MAX_SHOWN = 80  # Characters of a value in an error message.


def option(
    default: Any, help: str, *, choices: tuple[str, ...] | None = None, is_path: bool = False
) -> Any:
    """Declares a field of a config.

    Args:
      default: value of the field if it is not given.
      help: one line for `--help`.
      choices: the values that are allowed; None allows every value of the field's type.
      is_path: whether the field is a path. On the command line it must not be empty, and a leading
        `~` is expanded.
    """
    metadata = {"help": help, "choices": choices, "is_path": is_path}
    return dataclasses.field(default=default, metadata=metadata)


def add_options(
    parser: argparse.ArgumentParser,
    cls: Any,
    *,
    hide_defaults: Collection[str] = (),
    without: tuple[str, ...] = (),
) -> None:
    """Adds a command-line option for each field of a config.

    A Boolean field becomes a flag without a value: `--NAME` or, if the default is true,
    `--no_NAME`. Its help text describes the effect of the flag.

    The parsed namespace has an attribute only for options that were given.

    Args:
      parser: the parser to add the options to.
      cls: the config class; the first line of its docstring becomes the heading in `--help`.
      hide_defaults: names of fields whose defaults `--help` does not show.
      without: names of fields that get no option.
    """
    group = parser.add_argument_group((cls.__doc__ or "").split("\n")[0].rstrip("."))
    for field in dataclasses.fields(cls):
        if field.name in without:
            continue
        default = "" if field.name in hide_defaults else _format_default(field.default)
        default = f" [{default}]" if default else ""
        if field.type is bool:
            group.add_argument(
                f"--no_{field.name}" if field.default else f"--{field.name}",
                dest=field.name,
                action="store_const",
                const=not field.default,
                default=argparse.SUPPRESS,
                help=field.metadata["help"].replace("%", "%%"),
            )
            continue
        group.add_argument(
            f"--{field.name}",
            type=command_line.path if field.metadata["is_path"] else str,
            metavar=_metavar(field),
            default=argparse.SUPPRESS,
            help=field.metadata["help"].replace("%", "%%") + default,
        )


def pop_fields(values: dict[str, Any], cls: Any) -> dict[str, Any]:
    """Removes the values of the fields of a config from `values`, and returns them."""
    names = [name for name in values if name in cls.__dataclass_fields__]
    return {name: values.pop(name) for name in names}


def from_mapping(cls: type[Config], values: Mapping[str, Any], *, where: str) -> Config:
    """Creates a config, converting each value to the type of its field.

    Args:
      cls: the config class.
      values: strings from a command line, or values from a YAML file, by field name.
      where: origin of the values, for error messages.

    Raises:
      ConfigError: a field is unknown (the message suggests the nearest names), or a value is not
        valid for its field.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    field_types = typing.get_type_hints(cls)
    converted = {}
    for name, value in values.items():
        if name not in fields:
            raise ConfigError(f"unknown field {name!r} in {where}; {nearest(name, fields)}")
        converted[name] = _convert(value, field_types[name], fields[name], where)
    return cls(**converted)


def _convert(value: Any, field_type: Any, field: "dataclasses.Field[Any]", where: str) -> Any:
    choices = field.metadata["choices"]
    if choices and value not in choices:
        raise ConfigError(
            f"{field.name} in {where} must be one of {', '.join(choices)}. Received: {value!r}; "
            f"{nearest(str(value), choices)}"
        )
    is_optional = isinstance(field_type, types.UnionType)
    if is_optional and (value is None or value == "none"):
        return None
    base = typing.get_args(field_type)[0] if is_optional else field_type
    try:
        return _CONVERTERS[base](value)
    except (TypeError, ValueError, OverflowError) as error:
        limit = " below 2^63" if base is int and isinstance(error, OverflowError) else ""
        raise ConfigError(
            f"{field.name} in {where} must be {_TYPE_NAMES[base]}{limit}. "
            f"Received: {_shortened(value)}"
        ) from None


def _number(value: Any) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(value)
    return number


def _integer(value: Any) -> int:
    """Converts `12`, 12 or 12.0.

    Raises:
      ValueError, TypeError: it is not a whole number.
      OverflowError: it is infinite, or larger than `MAX_INTEGER`.
    """
    number = int(value)
    if isinstance(value, bool) or (isinstance(value, float) and value != number):
        raise ValueError(value)
    if abs(number) > MAX_INTEGER:
        raise OverflowError(value)
    return number


def _truth(value: Any) -> bool:
    """A value of a YAML file or of a flag, which is true or false already."""
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _shortened(value: Any) -> str:
    """A value for an error message; a long one is cut."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _integers(value: Any) -> tuple[int, ...]:
    """Converts `256,128`, [256, 128] or 256."""
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(_integer(part) for part in (parts if isinstance(parts, list | tuple) else [parts]))


def _texts(value: Any) -> tuple[str, ...]:
    """Converts `elbo,psnr`, [elbo, psnr] or elbo."""
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    return tuple(str(part).strip() for part in parts)


_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    int: _integer,
    float: _number,
    str: str,
    bool: _truth,
    tuple[int, ...]: _integers,
    tuple[str, ...]: _texts,
}
_TYPE_NAMES = {
    int: "a whole number",
    float: "a finite number",
    str: "text",
    bool: "true or false",
    tuple[int, ...]: "whole numbers separated by commas",
    tuple[str, ...]: "texts separated by commas",
}


def _format_default(default: Any) -> str:
    """A default value as a user would type it."""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return "" if default is None else str(default)


def _metavar(field: "dataclasses.Field[Any]") -> str:
    """The placeholder for the value of an option in `--help`."""
    if field.metadata["choices"]:
        return "|".join(field.metadata["choices"])
    field_type: Any = field.type
    is_optional = isinstance(field_type, types.UnionType)
    base = typing.get_args(field_type)[0] if is_optional else field_type
    return {int: "N", float: "X", str: "TEXT", tuple[str, ...]: "NAME,NAME"}.get(base, "N,N")

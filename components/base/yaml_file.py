"""YAML files of settings: `field: value` lines, whose values are text or lists of text.

A YAML file may come from someone else. Aliases, by which a short file can expand to gigabytes, are
refused, and so are large files and nested values. Tags have no effect.
"""

import os
import stat
from typing import Any

import yaml

from components.base.errors import ConfigError, WorkError, one_line

# Far more than all settings take. The parser reads about 100 kB per second.
MAX_BYTES = 64 << 10
_LINES = "`field: value` lines, a value being text or a list"


def read_fields(file: str) -> dict[str, Any]:
    """Reads the fields of a YAML file.

    Args:
      file: path of the file.

    Returns:
      The values by field name. A value is text, as on the command line, or a list of texts;
      `from_mapping` converts them.

    Raises:
      ConfigError: the file cannot be read, is larger than `MAX_BYTES`, or does not consist of such
        fields.
    """
    # Imported here, since `--help` needs neither.
    from etils import epath

    from components.base import files

    try:
        # A shell passes the output of another command as a pipe.
        if not stat.S_ISFIFO(os.stat(file).st_mode):
            files.check_regular(epath.Path(file))
        with open(file, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"config file {file}: {error.strerror}") from None
    except WorkError as error:
        raise ConfigError(str(error)) from None
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"{file} has more than {MAX_BYTES:,} bytes; a config file consists of {_LINES}"
        )
    return parse_fields(data, where=file)


def parse_fields(data: bytes, *, where: str) -> dict[str, Any]:
    """The fields in the text of a YAML file; see `read_fields`.

    Args:
      data: the text.
      where: origin of the text, for error messages.
    """
    try:
        root = yaml.compose(data, Loader=_Loader)
    except RecursionError:
        raise ConfigError(f"{where} is nested too deeply; it must consist of {_LINES}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} is not valid YAML: {_reason(error)}") from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{where} must consist of {_LINES}")
    fields: dict[str, Any] = {}
    for key, node in root.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
        line = key.start_mark.line + 1
        if name in fields:
            raise ConfigError(f"{where} sets {name!r} twice, the second time in line {line}")
        if not isinstance(key, yaml.ScalarNode) or not _is_value(node):
            raise ConfigError(f"{where} must consist of {_LINES}; see {name!r} in line {line}")
        fields[name] = _value(node)
    return fields


class _Loader(yaml.BaseLoader):
    """A loader that refuses aliases; `BaseLoader` takes every scalar for text."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, f"the alias *{alias.anchor}: write the value itself", alias.start_mark
            )
        return super().compose_node(parent, index)


def _reason(error: Exception) -> str:
    """The mistake, and its line if that is known."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        parts = ", ".join(part for part in (error.context, error.problem) if part)
        return f"{one_line(parts, length=200)} in line {error.problem_mark.line + 1}"
    return one_line(error, length=200)


def _is_value(node: yaml.Node) -> bool:
    parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return all(isinstance(part, yaml.ScalarNode) for part in parts)


def _value(node: yaml.Node) -> str | list[str]:
    if isinstance(node, yaml.SequenceNode):
        return [part.value for part in node.value]
    return node.value

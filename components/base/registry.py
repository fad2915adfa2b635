"""Choices by name whose implementations are imported on first use.

A command line needs the names of all networks and optimizers for `--help` and error messages, but
importing the modules that implement them imports TensorFlow, which takes seconds.
"""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any


class Registry(Mapping[str, Any]):
    """A read-only mapping from names to objects; the module of an object is imported on access.

    Args:
      **choices: the object of each name, as `package.module:attribute`.
    """

    def __init__(self, **choices: str):
        self._choices = choices

    def __getitem__(self, name: str) -> Any:
        module, attribute = self._choices[name].split(":")
        return getattr(importlib.import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        # `Mapping.__contains__` calls `__getitem__`, which would import the module.
        return name in self._choices

    def __iter__(self) -> Iterator[str]:
        return iter(self._choices)

    def __len__(self) -> int:
        return len(self._choices)

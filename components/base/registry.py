"""Choices by name, whose implementations are imported only when they are asked for.

A command line needs the names of all networks and optimizers for its help and its error messages,
but importing the modules that implement them imports TensorFlow, which takes seconds.
"""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any


class Registry(Mapping[str, Any]):
    """A mapping from names to objects of modules that are imported on first access.

    Args:
      **choices: for each name, `package.module:attribute`.
    """

    def __init__(self, **choices: str):
        self._choices = choices

    def __getitem__(self, name: str) -> Any:
        module, attribute = self._choices[name].split(":")
        return getattr(importlib.import_module(module), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(self._choices)

    def __len__(self) -> int:
        return len(self._choices)

"""The interface of a command of `python -m pipeline`."""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from components.base import command_line


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of `python -m pipeline`.

    Attributes:
      name: the word that chooses it.
      description: the text of its `--help`; the first line is the summary in the list of commands.
      add_options: adds its options to a parser, apart from those of every command.
      execute: runs it, with the values of all options by their names. Imports its stage only then:
        a help text needs none.
      takes_beam_options: whether it runs on Beam. The value `beam_args` then holds Beam's options.
      target: its option for the directory or file that it writes.
    """

    name: str
    description: str
    add_options: Callable[[argparse.ArgumentParser], None]
    execute: Callable[[dict[str, Any]], None]
    takes_beam_options: bool = False
    target: str = "--output"

    def add_to(self, commands: "argparse._SubParsersAction[command_line.Parser]") -> None:
        """Adds this command to the commands of a parser; parsed values hold it as `command`."""
        summary = self.description.partition("\n")[0].rstrip(".")
        parser = commands.add_parser(
            self.name, help=summary[0].lower() + summary[1:], description=self.description
        )
        parser.set_defaults(command=self, parser=parser)
        self.add_options(parser)
        parser.add_argument(
            "--overwrite",
            action="store_true",
            help=f"replace a different or damaged artifact in {self.target}",
        )
        parser.add_argument(
            "--verify",
            action="store_true",
            help=f"if {self.target} is up to date, read all its files and compare their content "
            "with the digests in the manifest",
        )

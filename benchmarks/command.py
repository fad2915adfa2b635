"""The command line and the report that all benchmarks share."""

import argparse
import contextlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.tables import table
from components.base import command_line
from components.base.errors import ConfigError, nearest
from components.sources import dataset_names


def parser(prog: str, description: str | None, sections: Collection[str]) -> command_line.Parser:
    """A parser of the shared options: data_dir, only, repeats."""

    def section_names(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in sections:
                raise ConfigError(f"unknown section {name!r}; {nearest(name, sections)}")
        return names

    parser = command_line.Parser(prog=prog, description=description)
    parser.add_argument(
        "--data_dir", default="", help="directory of TFDS's datasets [TFDS_DATA_DIR]"
    )
    parser.add_argument(
        "--only",
        type=section_names,
        default=list(sections),
        metavar="NAME,...",
        help=f"sections to measure [{','.join(sections)}]",
    )
    parser.add_argument(
        "--repeats", type=positive("--repeats"), default=3, help="timed runs of each row [3]"
    )
    return parser


def named_numbers(text: str, *, option: str, form: str) -> tuple[str, list[float]]:
    """The name and the numbers in the value of an option, such as `a paper:1e9:99.5`.

    Args:
      text: what the user wrote; the name may contain colons.
      option: its name, for the message.
      form: what it must be, such as `NAME:FLOPS:NATS`.

    Raises:
      ConfigError: the text has another form.
    """
    name, *numbers = text.rsplit(":", form.count(":"))
    try:
        if len(numbers) == form.count(":"):
            return name, [float(number) for number in numbers]
    except ValueError:
        pass
    raise ConfigError(f"{option} must be {form}. Received: {text!r}")


def positive(option: str) -> Callable[[str], int]:
    """The type of an option that takes a number of at least 1."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise ConfigError(f"{option} must be at least 1. Received: {text!r}")
        return int(text)

    return parse


def data_dir(options: argparse.Namespace) -> str:
    """The absolute directory of TFDS's datasets: tasks run in another working directory."""
    path = options.data_dir or dataset_names.default_data_dir()
    return str(dataset_names.expand_user(path).resolve())


@contextlib.contextmanager
def temporary_directory() -> Iterator[Path]:
    """A directory for all temporary files, including those of killed processes."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        os.environ["TMPDIR"] = directory
        yield Path(directory)


def machine_table(packages: Sequence[str], *, images: int, full: int) -> str:
    """The table of the machine and of the versions of packages.

    Args:
      packages: names of the packages.
      images: number of images that are measured.
      full: the number whose figures can be compared.
    """
    lines = machine.description(packages)
    if images != full:
        sizes = f"{images:,} images instead of {full:,}: figures are not comparable"
        lines.append(["sizes", sizes])
    return table(["machine", ""], lines)


def print_report(parts: Iterable[str]) -> None:
    """Prints each part when it is measured, and the complete report at the end."""
    printed = []
    for part in parts:
        printed.append(part)
        print(f"{part}\n", flush=True)
    print("# The complete report", *printed, sep="\n\n")

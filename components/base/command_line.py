"""How every command starts and ends: options, one-line errors, exit codes.

A `__main__.py` builds a `Parser`, and passes its main function to `run`:

  def main() -> None:
      parser = command_line.Parser(prog="python -m example")
      parser.add_argument("--output", required=True)
      write_results(parser.parse(sys.argv[1:]).output)

  command_line.run(main)

Code below it raises the errors of `components.base.errors`; it never prints them or exits itself.

Help texts and errors name commands as `python -m MODULE`. If the process was started by a console
script, it calls `use_script`, and users read the names that they can type.
"""

import argparse
import contextlib
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from components.base import console, file_errors, stop_signals
from components.base.errors import ConfigError, Stopped, UserError, WorkError, nearest

_CLEANUP_SECONDS = 5
# The name of each `python -m MODULE` in a console script.
_script_names: dict[str, str] = {}


def use_script(names: Mapping[str, str]) -> None:
    """Makes help texts and errors name commands of a console script.

    Args:
      names: the script's name for each `python -m MODULE`.
    """
    _script_names.update(names)


def as_started(text: str) -> str:
    """The text, with each command named as the user starts it."""
    for module, name in _script_names.items():
        text = text.replace(module, name)
    return text


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Names commands as the process was started, before lines are wrapped."""

    def _format_text(self, text: str) -> str:
        return super()._format_text(as_started(text))

    def _expand_help(self, action: argparse.Action) -> str:
        return as_started(super()._expand_help(action))


class Parser(argparse.ArgumentParser):
    """A parser that raises ConfigError where `argparse` would print its usage and exit.

    Options must be written in full. An unknown option is reported with the nearest valid ones. A
    subparser whose options should be suggested sets itself as the default of `parser`.
    """

    def __init__(self, **kwargs):
        kwargs.setdefault("formatter_class", _HelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)
        self.prog = as_started(self.prog)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parses command-line arguments.

        Raises:
          ConfigError: an option is unknown or missing, or has an invalid value or several values.
        """
        namespace, unknown = self.parse_known_args(arguments)
        if unknown:
            parser = getattr(namespace, "parser", self)
            if not unknown[0].startswith("-"):
                raise _unexpected_values(arguments, unknown)
            name = unknown[0].partition("=")[0]
            raise ConfigError(
                f"unknown option {name!r}; {nearest(name, parser._option_string_actions)} "
                f"(see {parser.prog} --help)"
            )
        return namespace

    def error(self, message: str) -> NoReturn:
        """Raises a ConfigError; `argparse` calls this for every mistake that it finds."""
        raise ConfigError(f"{message} (see {self.prog} --help)")


def _unexpected_values(arguments: Sequence[str], unknown: Sequence[str]) -> ConfigError:
    """The error for arguments that no option takes, usually a pattern that the shell expanded.

    Args:
      arguments: all arguments.
      unknown: the arguments that no option takes; the first one is a value.
    """
    # The last option before the value, and the values between that option and the next one.
    at = arguments.index(unknown[0])
    first = next((i for i in range(at, 0, -1) if arguments[i - 1].startswith("-")), at)
    end = next((i for i in range(at, len(arguments)) if arguments[i].startswith("-")), None)
    option, equals, value = arguments[first - 1].partition("=")
    values = [*([value] if equals else []), *arguments[first:end]]
    if not option.startswith("-") or len(values) == 1:
        return ConfigError(
            f"unexpected argument {unknown[0]!r}; give the name of its option before it"
        )
    if all(os.path.exists(value) for value in values):
        return ConfigError(
            f"{len(values)} file names after {option}: put the pattern in quotes, so that the "
            "shell does not expand it"
        )
    shown = " ".join(values[:3]) + (" …" if values[3:] else "")
    return ConfigError(
        f"{len(values)} values after {option}, which takes one: {shown}; put a value with spaces "
        "or wildcards in quotes"
    )


def path(value: str) -> str:
    """The type of options that take a path: refuses an empty one, and expands a leading `~`.

    Raises:
      argparse.ArgumentTypeError: the path is empty.
    """
    if not value:
        raise argparse.ArgumentTypeError("the path is empty; an unset variable in a script?")
    return os.path.expanduser(value)


def run(command: Callable[[], None]) -> NoReturn:
    """Runs a command and ends the process.

    A `UserError` and a file error become one line on standard error; any other exception is a bug
    and gets its traceback. The exit code is 0 on success, 1 if the work failed, 2 if the command
    line or the config is wrong, and 75 if a signal stopped the work.
    """
    console.open_streams()
    # gRPC and Beam log so much that the user would miss the one line that matters.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    logging.basicConfig(level=logging.ERROR)
    try:
        stop_signals.interrupt()
        exit_code = _exit_code(command)
        # The result is final now.
        stop_signals.ignore()
    except KeyboardInterrupt:
        exit_code = Stopped.exit_code
    _end_process(Stopped.exit_code if stop_signals.is_stopping() else exit_code)


def _exit_code(command: Callable[[], None]) -> int:
    """Runs a command, reports its error, and returns the exit code."""
    try:
        with file_errors.as_work_errors():
            with contextlib.suppress(SystemExit):  # `argparse` has printed a help text.
                command()
            console.flush()
    except Stopped as stopped:
        console.say(as_started(str(stopped)))
        return stopped.exit_code
    except UserError as error:
        console.say(as_started(f"error: {error}"))
        return error.exit_code
    except Exception:
        console.say(*traceback.format_exc().rstrip("\n").split("\n"))
        return WorkError.exit_code
    return 0


def _end_process(exit_code: int) -> NoReturn:
    if multiprocessing_util := sys.modules.get("multiprocessing.util"):
        # Removes semaphores and a directory of sockets: `os._exit` skips Python's exit handlers.
        cleanup = threading.Thread(target=multiprocessing_util._run_finalizers, daemon=True)
        cleanup.start()
        cleanup.join(_CLEANUP_SECONDS)
    # Not `sys.exit`: it would wait for worker threads that are still running, and a signal during
    # Python's exit would change the exit code.
    os._exit(exit_code)

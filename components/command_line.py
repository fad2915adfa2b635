"""How every command starts and ends: its options, its one-line errors, its exit code."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from components import console
from components.errors import ConfigError, Stopped, UserError, nearest


class Parser(argparse.ArgumentParser):
    """Options in full only; every mistake is a ConfigError that names what is near."""

    def __init__(self, **kwargs):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parses all of `arguments`."""
        namespace, unknown = self.parse_known_args(arguments)
        if unknown:
            parser = getattr(namespace, "parser", self)
            name = unknown[0].partition("=")[0]
            raise ConfigError(
                f"unknown option {name!r}; {nearest(name, parser._option_string_actions)} "
                f"({parser.prog} --help shows all)"
            )
        return namespace

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} ({self.prog} --help shows all)")


def run(command: Callable[[], None]) -> NoReturn:
    """Runs a command and exits: 0 done, 1 failed, 2 wrongly called, 75 stopped by a signal."""
    signal.signal(signal.SIGTERM, _stop)
    # Beam's own chatter would bury the one line that matters.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    logging.basicConfig(level=logging.ERROR)
    try:
        command()
    except UserError as error:
        _exit(error)
    except KeyboardInterrupt as interrupt:
        name = str(interrupt) or "SIGINT"
        _exit(Stopped(f"{name}: stopped; nothing unfinished was published, give the command again"))
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        _exit(UserError(f"{error.strerror}: {error.filename or 'while writing'}; mend that and "
                        "give the same command again"))  # fmt: skip
    sys.exit(0)


def _stop(number: int, _frame: object) -> NoReturn:
    # No library's `except Exception` holds this one up.
    raise KeyboardInterrupt(signal.Signals(number).name)


def _exit(error: UserError) -> NoReturn:
    console.say(f"error: {error}" if error.exit_code != Stopped.exit_code else str(error))
    # A worker thread that still runs must not hold the process up.
    sys.stderr.flush()
    os._exit(error.exit_code)

"""How every command starts and ends: its options, its one-line errors, its exit code."""

import argparse
import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from components.base import console
from components.base.errors import ConfigError, Stopped, UserError, WorkError, nearest

# How an error of a remote file system stands in a traceback's text, with what Beam adds to it. An
# error of the same class that TensorFlow raises elsewhere is a bug.
_REMOTE_ERROR = re.compile(
    r'^  File ".*/(?:tensorflow/python/lib/io|etils/epath|fsspec|gcsfs|s3fs)/.*\n(?:    .*\n)*'
    r"(?:RuntimeError: )?[\w.]+Error: (.*?)(?: \[while running .*)?$",
    re.M,
)
_NO_SCHEME = re.compile(r"File system scheme '(\w+)' not implemented")
_CLEANING_SECONDS = 5
_FILE_SYSTEMS = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs", "hf": "huggingface_hub"}


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
        name = str(interrupt).partition(" ")[0] or "SIGINT"  # Beam adds where it was.
        _exit(Stopped(f"{name}: stopped; nothing unfinished was published, give the command again"))
    except _errors_of_files() as error:
        if isinstance(error, OSError) and (error.filename or error.errno) is not None:
            _exit(UserError(f"{error.strerror}: {error.filename or 'while writing'}; mend that and "
                            "give the same command again"))  # fmt: skip
        if failure := remote_failure("".join(traceback.format_exception(error))):
            _exit(failure)
        raise
    sys.exit(0)


def remote_failure(text: str) -> WorkError | None:
    """What the text of a traceback says of a remote file system; None if it is another error."""
    if not (found := _REMOTE_ERROR.search(text)):
        return None
    if scheme := _NO_SCHEME.search(found[1]):
        package = _FILE_SYSTEMS.get(scheme[1], "its package for fsspec")
        return WorkError(f"{found[1]}; install {package} and set EPATH_USE_TF=false")
    return WorkError(
        f"{found[1]}; check the path, the rights and the network, and give the same command again"
    )


def _errors_of_files() -> tuple[type[Exception], ...]:
    """What may come of a file, local or remote. Where epath asked TensorFlow, it is imported."""
    tensorflow = sys.modules.get("tensorflow")
    of_tensorflow = (tensorflow.errors.OpError,) if tensorflow else ()
    return OSError, ImportError, *of_tensorflow


def _stop(number: int, _frame: object) -> NoReturn:
    # No library's `except Exception` holds this one up.
    raise KeyboardInterrupt(signal.Signals(number).name)


def _exit(error: UserError) -> NoReturn:
    console.say(f"error: {error}" if error.exit_code != Stopped.exit_code else str(error))
    sys.stderr.flush()
    if processes := sys.modules.get("multiprocessing.util"):
        # Semaphores and a folder of sockets, which Python itself removes only when it ends its way.
        cleaning = threading.Thread(target=processes._run_finalizers, daemon=True)
        cleaning.start()
        cleaning.join(_CLEANING_SECONDS)
    # A worker thread that still runs must not hold the process up.
    os._exit(error.exit_code)

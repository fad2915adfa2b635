import errno
import subprocess
import sys

import pytest

from components import command_line
from components.errors import ConfigError


def parser() -> command_line.Parser:
    parser = command_line.Parser(prog="program")
    parser.add_argument("--learning_rate")
    return parser


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning_rat", "1"], "unknown option '--learning_rat'; nearest: --learning_rate"),
        (["--lerning_rate=1"], "unknown option '--lerning_rate'; nearest: --learning_rate"),
        (["--learning_rate"], "expected one argument"),
    ],
)
def test_mistakes_are_one_line_with_the_nearest_name(arguments, message):
    with pytest.raises(ConfigError, match=message):
        parser().parse(arguments)


PROGRAM = """
import os, signal, sys
from components import command_line, errors
def main():
    {body}
command_line.run(main)
"""


def run(body: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body)], capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        ("pass", 0, ""),
        ("raise errors.ConfigError('wrong')", 2, "error: wrong\n"),
        ("raise errors.WorkError('failed')", 1, "error: failed\n"),
        ("raise errors.Stopped('stopped')", 75, "stopped\n"),
        ("signal.raise_signal(signal.SIGTERM)", 75, "SIGTERM: stopped"),
        ("signal.raise_signal(signal.SIGINT)", 75, "SIGINT: stopped"),
        (f"raise OSError({errno.ENOSPC}, 'No space left', 'x')", 1, "error: No space left: x;"),
    ],
)
def test_exit_codes_and_lines(body, code, line):
    done = run(body)
    assert done.returncode == code
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == (code != 0)


def test_a_bug_gets_its_traceback():
    done = run("raise ZeroDivisionError")
    assert done.returncode == 1
    assert "Traceback" in done.stderr

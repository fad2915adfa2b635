import errno
import os
import subprocess
import sys

import pytest

from components.base import command_line
from components.base.errors import ConfigError


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
def test_an_unknown_or_incomplete_option_is_reported_with_the_nearest_names(arguments, message):
    with pytest.raises(ConfigError, match=message):
        parser().parse(arguments)


HELP = "made by `python -m program`, and by nothing else; " * 3


def test_the_prose_of_help_fits_the_terminal_and_examples_keep_their_lines(monkeypatch):
    prose, example = "--a-long word " * 12, "  python -m program \\\n    --input x"
    described = command_line.Parser(description=f"{prose}\n\n{example}\n\nThe end.\n")
    for columns, width in ((60, 58), (300, 100)):
        monkeypatch.setenv("COLUMNS", str(columns))
        first, *others = described.format_help().split("\n\n")[1:4]
        assert others == [example, "The end."]
        lines = first.splitlines()
        assert " ".join(lines) == prose.strip()
        assert width - len("--a-long") <= max(map(len, lines)) <= width


def test_help_and_errors_name_commands_as_the_process_was_started(monkeypatch):
    def texts() -> list[str]:
        parser = command_line.Parser(
            prog="python -m program", description="  python -m program stage --input x"
        )
        stages = parser.add_subparsers(parser_class=command_line.Parser)
        stage = stages.add_parser("stage", help=HELP)
        stage.add_argument("--input", help=HELP, required=True)
        with pytest.raises(ConfigError) as caught:
            parser.parse(["stage"])
        return [parser.format_help(), stage.format_help(), str(caught.value)]

    modules = texts()
    monkeypatch.setitem(command_line._script_names, "python -m program", "script do")
    scripts = texts()
    for module, script in zip(modules, scripts, strict=True):
        # Without the line breaks, which depend on the length of the names.
        module, script = " ".join(module.split()), " ".join(script.split())
        assert script == module.replace("python -m program", "script do")
        assert "script do" in script
    assert scripts[0].startswith("usage: script do [-h]")
    assert scripts[1].startswith("usage: script do stage [-h]")
    assert command_line.as_started("x python -m program y") == "x script do y"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "{a}", "{b}", "{c}"], "3 file names after --input: put the pattern in quotes"),
        (["--input={a}", "{b}", "--output", "x"], "2 file names after --input: put the pattern"),
        (["--output", "x", "--input", "{a}", "{b}"], "2 file names after --input: put the pattern"),
        (["--input", "my", "photos"], "2 values after --input, which takes one: my photos; put a"),
        (["--input", *"vwxyz"], "5 values after --input, which takes one: v w x …; put a value"),
        (["--force", "x"], "unexpected argument 'x'; give the name of its option before it"),
        (["x", "--input", "{a}"], "unexpected argument 'x'; give the name of its option before it"),
        (["--input", "x", "--inptu", "y"], "unknown option '--inptu'; nearest: --input"),
    ],
)
@pytest.mark.parametrize("stage", [[], ["stage"]])
def test_several_values_of_an_option_are_reported_as_a_pattern(tmp_path, stage, arguments, message):
    files = {name: str(tmp_path / name) for name in "abc"}
    for path in files.values():
        with open(path, "w"):
            pass
    parser = several = command_line.Parser(prog="program")
    if stage:
        stages = parser.add_subparsers(parser_class=command_line.Parser)
        several = stages.add_parser("stage")
        several.set_defaults(parser=several)
    several.add_argument("--input")
    several.add_argument("--output")
    several.add_argument("--force", action="store_true")
    with pytest.raises(ConfigError) as caught:
        parser.parse([*stage, *(argument.format(**files) for argument in arguments)])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


PROGRAM = """
import os, signal, sys
from components.base import command_line, errors
def main():
    {body}
command_line.run(main)
"""


def run(body: str) -> subprocess.CompletedProcess:
    """Runs a command with the given function body in a new process."""
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
        ("signal.raise_signal(signal.SIGHUP)", 75, "SIGHUP: stopped"),
        (r"raise errors.WorkError('bad \x1b[2J\nname')", 1, "error: bad \\x1b[2J\\nname\n"),
        ("raise errors.Stopped('bad \u202ename')", 75, "bad \\u202ename\n"),
        (f"raise OSError({errno.ENOSPC}, 'No space left', 'x')", 1, "error: No space left: x;"),
    ],
)
def test_errors_determine_the_exit_code_and_one_line_of_output(body, code, line):
    done = run(body)
    assert done.returncode == code
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == (code != 0)


def test_an_error_names_commands_of_the_console_script():
    names = "command_line.use_script({'python -m program': 'script'})"
    done = run(f"{names}; raise errors.WorkError('run python -m program again')")
    assert (done.returncode, done.stderr) == (1, "error: run script again\n")


def test_a_bug_is_reported_with_its_traceback():
    done = run("raise ZeroDivisionError('\x1b[2J')")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("\nZeroDivisionError: \\x1b[2J\n")


REMOTE = """
from components.base import tensorflow_setup
tensorflow_setup.load()
from etils import epath
epath.Path('s3://bucket/x').read_text()
"""
BUG = """
from components.base import tensorflow_setup
tensorflow_setup.load()
import tensorflow as tf
tf.constant([1, 2]) + tf.constant([1, 2, 3])
"""


def test_a_missing_remote_file_system_is_reported_in_one_line():
    done = run("\n    ".join(REMOTE.strip().splitlines()))
    assert done.returncode == 1
    assert done.stderr == (
        "error: File system scheme 's3' not implemented (file: 's3://bucket/x'); "
        "install s3fs and set EPATH_USE_TF=false\n"
    )


def test_other_errors_of_tensorflow_are_reported_with_their_traceback():
    done = run("\n    ".join(BUG.strip().splitlines()))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "InvalidArgumentError" in done.stderr


@pytest.mark.parametrize("error", ["FileNotFoundError('x')", "ImportError('no module x')"])
def test_errors_that_do_not_concern_files_are_reported_with_their_traceback(error):
    done = run(f"raise {error}")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


MULTIPROCESSING = """
import multiprocessing
lock = multiprocessing.get_context('forkserver').Lock()
multiprocessing.util.get_temp_dir()
raise errors.WorkError('failed')
"""


def test_resources_of_multiprocessing_are_removed(tmp_path):
    program = PROGRAM.format(body="\n    ".join(MULTIPROCESSING.strip().splitlines()))
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    # The resource tracker of `multiprocessing` would print a line for each leaked resource.
    assert (done.returncode, done.stderr) == (1, "error: failed\n")
    assert list(tmp_path.iterdir()) == []


def test_a_path_is_not_empty_and_its_tilde_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    parser = command_line.Parser(prog="program")
    parser.add_argument("--output", type=command_line.path)
    assert parser.parse(["--output", "~/runs"]).output == "/home/me/runs"
    assert parser.parse(["--output", "gs://bucket/~"]).output == "gs://bucket/~"
    for arguments in (["--output", ""], ["--output="]):
        with pytest.raises(ConfigError, match="argument --output: the path is empty"):
            parser.parse(arguments)


LOST = {
    "a destructor drops it": """
class Dropped:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
Dropped()
""",
    "it becomes a failure": """
try:
    signal.raise_signal(signal.SIGTERM)
except KeyboardInterrupt:
    raise RuntimeError("a library failed")
""",
    "it becomes an error of the user": """
try:
    signal.raise_signal(signal.SIGTERM)
except KeyboardInterrupt:
    raise errors.WorkError("a file is missing")
""",
    "clearing up prints": """
try:
    signal.raise_signal(signal.SIGTERM)
finally:
    os.system("echo Traceback >&2")
""",
}


@pytest.mark.parametrize("body", LOST.values(), ids=LOST)
def test_a_signal_determines_the_end_even_if_its_exception_is_lost(body):
    done = run("\n    ".join(body.strip().splitlines()))
    assert done.returncode == 75
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("SIGTERM: stopped; ")


def test_a_signal_after_the_work_has_no_effect():
    """While `multiprocessing` is cleared up, and while Python ends."""
    body = """
import multiprocessing.util
multiprocessing.util.Finalize(None, lambda: os.kill(os.getpid(), signal.SIGTERM), exitpriority=1)
"""
    done = run("\n    ".join(body.strip().splitlines()))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize(
    ("body", "code"), [("pass", 0), ("raise errors.WorkError('y')", 1), ("raise ValueError", 1)]
)
def test_a_lost_reader_does_not_change_the_end(stream, body, code):
    reader, writer = os.pipe()
    os.close(reader)
    text = f"console.show('x' * 100_000); console.say('x' * 100_000); {body}"
    program = PROGRAM.format(body=f"from components.base import console; {text}")
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writer}
    done = subprocess.run([sys.executable, "-c", program], text=True, **streams)
    os.close(writer)
    assert done.returncode == code
    assert "Exception ignored" not in (done.stderr or "")

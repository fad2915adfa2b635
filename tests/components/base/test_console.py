import contextlib
import os
import subprocess
import sys

import pytest

from components.base import console
from tests.conftest import ROOT
from tests.terminal import Terminal


def run(program: str, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", f"import os, sys\nfrom components.base import console\n{program}"],
        cwd=ROOT,
        **{"capture_output": True, "text": True} | kwargs,
    )


def test_messages_are_written_to_standard_error(capsys):
    console.say("working")
    console.warn("look here")
    console.say("first", "second")
    assert capsys.readouterr() == ("", "working\nwarning: look here\nfirst\nsecond\n")


def test_results_are_written_to_standard_output(capsys):
    console.show("\na\n  b")
    assert capsys.readouterr() == ("\na\n  b\n", "")


def test_counted_nouns_take_a_plural():
    counts = [console.counted(count, "file") for count in (0, 1, 2000)]
    assert counts == ["0 files", "1 file", "2,000 files"]


def test_warnings_are_bold_yellow_on_a_terminal():
    terminal = Terminal()
    with contextlib.redirect_stderr(terminal.stream):
        console.warn("look here")
    assert terminal.close() == ["\033[1;33mwarning: look here\033[0m"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Straße, 猫, 🐱, “…” −1", "Straße, 猫, 🐱, “…” −1"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1b[2Ja", r"\x1b[2Ja"),
        ("\x9b31m", r"\x9b31m"),
        ("a\r\nerror: b", r"a\r\nerror: b"),
        ("tab\tDEL\x7f\0", r"tab\tDEL\x7f\x00"),
        ("gpj.\u202eexe\u2066", r"gpj.\u202eexe\u2066"),
        ("a\u2028b\u200bc", r"a\u2028b\u200bc"),
        ("caf\udce9", r"caf\udce9"),
    ],
)
def test_characters_that_a_terminal_obeys_become_visible(text, expected, capsys):
    assert console.visible(text) == expected
    console.say(text)
    console.warn(text)
    console.show(text.replace("\n", "!"))
    shown = expected.replace(r"\n", "!")
    assert capsys.readouterr() == (f"{shown}\n", f"{expected}\nwarning: {expected}\n")


# The standard streams at the start of a process, which `>&-` in a shell closes.
@pytest.mark.parametrize("redirections", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_opened(redirections, tmp_path):
    program = f"""
import os, sys
from components.base import console
console.open_streams()
with open({str(tmp_path / "file")!r}, "w") as file:
    console.say("a message")
    console.show("a result")
    os.write(2, b"a message of a library")
    os.system("echo a message of a child >&2")
    file.write(str(file.fileno()))
"""
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirections}', sys.executable, program],
        cwd=ROOT,
        capture_output=True,
    )
    assert done.returncode == 0
    assert int((tmp_path / "file").read_text()) > 2


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_without_a_reader_is_dropped(stream):
    """Nothing is left in a buffer either, which Python would write again at its exit."""
    reader, writer = os.pipe()
    os.close(reader)
    function = {"stdout": "show", "stderr": "say"}[stream]
    program = f"for _ in range(3): console.{function}('x' * 100_000)\nconsole.flush()"
    done = run(program, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writer},
               capture_output=False)  # fmt: skip
    os.close(writer)
    assert done.returncode == 0
    assert {done.stdout, done.stderr} <= {None, ""}


def test_a_full_disk_loses_messages_and_fails_on_results():
    with open("/dev/full", "w") as full:
        program = "console.say('a')\ntry: console.show('b')\nexcept OSError: os._exit(7)"
        done = run(program, capture_output=False, stdout=full, stderr=full)
    assert done.returncode == 7


def test_texts_are_written_in_any_locale():
    done = run(
        "console.open_streams()\nconsole.show('−1')\nconsole.say('−2')",
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert (done.stdout, done.stderr) == ("\\u22121\n", "\\u22122\n")


def test_hidden_output_does_not_appear_except_for_a_message_at_once():
    program = """
with console.hidden_stderr():
    console.say("hidden")
    os.system("echo hidden >&2")
    console.say_at_once("at once")
console.say("seen")
"""
    assert run(program).stderr == "at once\nseen\n"


@pytest.mark.parametrize("inside", [True, False])
def test_after_silence_nothing_appears(inside):
    silence = "console.say_at_once('the end'); console.silence()"
    program = f"""
with console.hidden_stderr():
    {silence if inside else "pass"}
{silence if not inside else "pass"}
console.say("unseen")
os.system("echo unseen >&2")
"""
    assert run(program).stderr == "the end\n"


def test_a_message_at_once_replaces_a_progress_bar():
    terminal = Terminal()
    script = """
from components.base import console
console.say_at_once("stopped")
"""
    terminal.stream.write("50%|====")
    terminal.stream.flush()
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, stderr=terminal.stream, check=True)
    assert terminal.close() == ["50%|====", "\033[Kstopped"]

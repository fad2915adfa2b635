import contextlib

from components.base import console
from tests.terminal import Terminal


def test_messages_are_written_to_standard_error(capsys):
    console.say("working")
    console.warn("look here")
    assert capsys.readouterr() == ("", "working\nwarning: look here\n")


def test_counted_nouns_take_a_plural():
    counts = [console.counted(count, "file") for count in (0, 1, 2000)]
    assert counts == ["0 files", "1 file", "2,000 files"]


def test_warnings_are_bold_yellow_on_a_terminal():
    terminal = Terminal()
    with contextlib.redirect_stderr(terminal.stream):
        console.warn("look here")
    assert terminal.close() == ["\033[1;33mwarning: look here\033[0m"]

import pytest

from components.base import command_line
from pipeline.commands.command import Command


def parsed(command: Command, *arguments: str) -> dict:
    parser = command_line.Parser()
    command.add_to(parser.add_subparsers(parser_class=command_line.Parser))
    return vars(parser.parse(arguments))


def test_a_command_has_its_own_options_and_those_of_every_command():
    command = Command(
        "draw", "Draw lines.\n\nMany.", lambda parser: parser.add_argument("--width"), print
    )
    values = parsed(command, "draw", "--width", "3", "--verify")
    assert values.pop("command") == command
    assert values.pop("parser").prog.endswith(" draw")
    assert values == {"width": "3", "overwrite": False, "verify": True}


@pytest.mark.parametrize("target", ["--output", "--run"])
def test_help_texts_name_what_the_command_does_and_writes(target, capsys):
    command = Command("draw", "Draw lines.\n\nMany.", lambda parser: None, print, target=target)
    with pytest.raises(SystemExit):
        parsed(command, "--help")
    assert "    draw      draw lines\n" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        parsed(command, "draw", "--help")
    text = capsys.readouterr().out
    assert "Draw lines.\n\nMany.\n" in text
    assert f"damaged artifact in {target}\n" in text


@pytest.mark.parametrize("takes_beam_options", [True, False])
def test_help_texts_of_commands_on_beam_say_how_to_pass_options_to_it(takes_beam_options, capsys):
    command = Command("draw", "Draw.", lambda parser: None, print, takes_beam_options)
    with pytest.raises(SystemExit):
        parsed(command, "draw", "--help")
    assert (
        "Options after `--` are passed to Beam" in capsys.readouterr().out
    ) == takes_beam_options

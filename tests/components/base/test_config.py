import argparse
import dataclasses

import pytest

from components.base.config import add_options, from_mapping, option, pop_fields
from components.base.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Example:
    """An example."""

    size: int = option(3, "a size")
    rate: float = option(0.5, "a rate")
    name: str = option("x", "a name", choices=("x", "y"))
    widths: tuple[int, ...] = option((1, 2), "widths")
    words: tuple[str, ...] = option(("a", "b"), "words")


def test_strings_and_yaml_values_are_converted():
    strings = {"size": "4", "rate": "1e-3", "name": "y", "widths": "5,6", "words": "c, d"}
    values = {"size": 4, "rate": 0.001, "name": "y", "widths": [5, 6], "words": ["c", "d"]}
    expected = Example(4, 0.001, "y", (5, 6), ("c", "d"))
    assert from_mapping(Example, strings, where="here") == expected
    assert from_mapping(Example, values, where="here") == expected
    assert from_mapping(Example, {"widths": 5, "rate": 1}, where="here").widths == (5,)


def test_a_config_round_trips():
    config = Example(4, 0.25, "y", (7,))
    assert from_mapping(Example, dataclasses.asdict(config), where="here") == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sise": 3}, "unknown field 'sise' in here; nearest: size"),
        ({"size": "3.5"}, "size in here must be a whole number. Received: '3.5'"),
        ({"size": float("inf")}, "size in here must be a whole number"),
        ({"size": 1e300}, r"size in here must be a whole number below 2\^63. Received: 1e\+300"),
        ({"size": "1e300"}, "size in here must be a whole number. Received: '1e300'"),
        ({"size": str(10**30)}, r"must be a whole number below 2\^63. Received: '1000"),
        ({"size": str(10**4000)}, r"must be a whole number below 2\^63. Received: '10{78}…$"),
        ({"size": "1" * 5000}, r"must be a whole number. Received: '1{79}…$"),
        ({"widths": f"5,{10**30}"}, "widths in here must be whole numbers"),
        ({"rate": "nan"}, "rate in here must be a finite number"),
        ({"size": True}, "size in here must be a whole number"),
        ({"rate": "fast"}, "rate in here must be a finite number. Received: 'fast'"),
        ({"widths": "a,b"}, "widths in here must be whole numbers separated by commas"),
        ({"name": "z"}, "name in here must be one of x, y. Received: 'z'"),
    ],
)
def test_invalid_values_are_reported_with_field_and_origin(values, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(Example, values, where="here")


def parser_of(cls, **kwargs) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="program")
    add_options(parser, cls, **kwargs)
    return parser


def test_options_have_the_names_of_the_fields():
    parser = parser_of(Example, without=("name",))
    assert vars(parser.parse_args([])) == {}
    assert vars(parser.parse_args(["--size", "4", "--widths=5,6"])) == {
        "size": "4",
        "widths": "5,6",
    }
    with pytest.raises(SystemExit):
        parser.parse_args(["--name", "x"])


def test_help_shows_types_choices_and_defaults():
    text = parser_of(Example).format_help()
    for line in (
        "An example:",
        "--size N",
        "a size [3]",
        "--name x|y",
        "widths [1,2]",
        "words [a,b]",
    ):
        assert line in text
    text = parser_of(Example, hide_defaults={"size"}).format_help()
    assert "[3]" not in text
    assert "widths [1,2]" in text


def test_pop_fields_removes_the_fields_of_a_config():
    values = {"size": "4", "output": "x", "rate": "1"}
    assert pop_fields(values, Example) == {"size": "4", "rate": "1"}
    assert values == {"output": "x"}


def test_large_whole_numbers_are_exact():
    assert from_mapping(Example, {"size": str(2**53 + 1)}, where="here").size == 2**53 + 1


def test_an_option_that_is_a_path_is_expanded_and_not_empty(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Paths:
        """Paths."""

        data_dir: str = option("", "a directory", is_path=True)

    monkeypatch.setenv("HOME", "/home/me")
    parser = parser_of(Paths)
    assert parser.parse_args(["--data_dir", "~/x"]).data_dir == "/home/me/x"
    assert from_mapping(Paths, {}, where="here").data_dir == ""
    with pytest.raises(SystemExit):
        parser.parse_args(["--data_dir", ""])

import pytest

PATHS = ("--model", "none", "--output", "x")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((*PATHS, "--interpolate", "one"), ("argument --interpolate: expected 2 arguments",)),
        ((*PATHS, "--count", "0"), ("count must be from 1 to 100,000",)),
        ((*PATHS, "--near", "x", "--traverse"), ("not allowed with argument --near",)),
    ],
)
def test_mistakes_are_explained_in_one_line(mistake, arguments, parts):
    message = mistake("generate", *arguments)
    for part in parts:
        assert part in message

import pytest


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--input", "x", "--output", "x"), ("required: --model",)),
        (("--model", "none", "--input", "", "--output", "x"), ("--input: the path is empty",)),
    ],
)
def test_mistakes_are_explained_in_one_line(mistake, arguments, parts):
    message = mistake("decompress", *arguments)
    for part in parts:
        assert part in message

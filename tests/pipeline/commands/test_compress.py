import pytest


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--model", "none", "--input", "x"), ("required: --output",)),
        (
            ("--model", "none", "--input", "x", "--output", "x.vaez"),
            ("none is not a finished artifact",),
        ),
    ],
)
def test_mistakes_are_explained_in_one_line(mistake, arguments, parts):
    message = mistake("compress", *arguments)
    for part in parts:
        assert part in message

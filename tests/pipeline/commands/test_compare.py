import pytest


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--output", "x"), ("required: RUN",)),
        (("a", "--output", "x"), ("compare takes two runs or more",)),
        (("a", "b", "--output", "x"), ("a/model is not a finished",)),
    ],
)
def test_mistakes_are_explained_in_one_line(mistake, arguments, parts):
    message = mistake("compare", *arguments)
    for part in parts:
        assert part in message

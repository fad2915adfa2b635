import pytest


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ("one of the arguments --query --outliers --duplicates is required",)),
        (("--query", "q", "--outliers"), ("not allowed with argument --query",)),
        (("--duplicates", "--model", ""), ("--model: the path is empty",)),
        (("--outliers",), ("none is not a finished artifact",)),
    ],
)
def test_mistakes_are_explained_in_one_line(mistake, arguments, parts):
    message = mistake("neighbours", "--embeddings", "none", *arguments)
    for part in parts:
        assert part in message

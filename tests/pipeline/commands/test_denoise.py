import pytest

PATHS = ("--model", "none", "--input", "x", "--output", "x")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((*PATHS, "--input", ""), ("--input: the path is empty",)),
        ((*PATHS, "--samples", "0"), ("samples must be",)),
        ((*PATHS, "--", "--runer=FlinkRunner"), ("unknown Beam option '--runer'",)),
    ],
)
def test_mistakes_are_explained_in_one_line(mistake, arguments, parts):
    message = mistake("denoise", *arguments)
    for part in parts:
        assert part in message

import pytest


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--dataset", "auto"), ("required: --output",)),
        (
            ("--dataset", "fashion_mist", "--output", "x"),
            ("unknown dataset", "nearest: fashion_mnist"),
        ),
        (("--output", "x", "--", "--runer=FlinkRunner"), ("unknown Beam option '--runer'",)),
    ],
)
def test_mistakes_are_explained_in_one_line(mistake, arguments, parts):
    message = mistake("prepare", *arguments)
    for part in parts:
        assert part in message

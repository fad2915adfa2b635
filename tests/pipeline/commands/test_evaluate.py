import pytest

PATHS = ("--examples", "none", "--model", "none", "--output", "x")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ("required: --examples, --model, --output",)),
        (
            (*PATHS, "--importance_samples", "many"),
            ("importance_samples", "must be a whole number"),
        ),
        ((*PATHS, "--gate", "psnr"), ("--gate 'psnr' is not a metric",)),
        (PATHS, ("none is not a finished artifact",)),
    ],
)
def test_mistakes_are_explained_in_one_line(mistake, arguments, parts):
    message = mistake("evaluate", *arguments)
    for part in parts:
        assert part in message

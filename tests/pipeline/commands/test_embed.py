import pytest

PATHS = ("--model", "none", "--output", "x")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (
            (*PATHS, "--input", "README.md", "LICENSE"),
            ("2 file names after --input: put the pattern in quotes",),
        ),
        ((*PATHS, "--input", ""), ("--input: the path is empty",)),
        (
            (*PATHS, "--input", "x", "--format", "csv"),
            ("format", "must be one of parquet, npy, tfrecord"),
        ),
        ((*PATHS, "--input", "x", "--image_size", "28"), ("unknown option '--image_size'",)),
    ],
)
def test_mistakes_are_explained_in_one_line(mistake, arguments, parts):
    message = mistake("embed", *arguments)
    for part in parts:
        assert part in message

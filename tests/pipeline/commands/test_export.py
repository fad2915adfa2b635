import pytest

PATHS = ("--model", "none", "--output", "x")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--model", "m"), ("required: --output",)),
        ((*PATHS,), ("none is not a finished",)),
        ((*PATHS, "--formats", "keras,onx"), ("unknown format 'onx' in formats; nearest: onnx",)),
        ((*PATHS, "--", "--runner=FlinkRunner"), ("the export stage takes no Beam options",)),
    ],
)
def test_mistakes_are_explained_in_one_line(mistake, arguments, parts):
    message = mistake("export", *arguments)
    for part in parts:
        assert part in message

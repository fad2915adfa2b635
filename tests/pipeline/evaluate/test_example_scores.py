import numpy as np
import pytest
from etils import epath

from components.base.artifacts import ArtifactPlan
from components.base.errors import WorkError
from components.base.manifest import load_artifact
from components.data.examples import ExampleBatch
from pipeline.evaluate import example_scores

IMAGES = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4, 1)
VALUES = {"elbo": np.array([-1.0, -2.5, -3.25]), "psnr": np.array([20.0, np.nan, 30.0])}


def published(directory, write):
    """The artifact of an evaluation with the file that `write` writes."""
    plan = ArtifactPlan(stage="evaluate", directory=epath.Path(directory), config={}, inputs={})
    with plan.publish() as draft:
        write(draft.path / example_scores.EXAMPLE_SCORES_FILE)
    return load_artifact(directory, stage="evaluate")


def scored(directory, images: np.ndarray) -> example_scores.ExampleScores:
    batch = ExampleBatch(ids=["a", "b", "c"], images=images, labels=np.zeros(3, np.int64))
    artifact = published(directory, lambda path: example_scores.write(path, batch, VALUES))
    scores = example_scores.read(artifact)
    assert scores is not None
    return scores


def test_the_scores_that_are_read_are_those_that_were_written(tmp_path):
    scores = scored(tmp_path / "evaluation", IMAGES)
    assert scores.ids == ["a", "b", "c"]
    assert scores.by_name.keys() == VALUES.keys()
    for name, values in VALUES.items():
        np.testing.assert_array_equal(scores.by_name[name], values)


def test_digests_tell_images_apart_by_their_pixels_and_shapes(tmp_path):
    digests = scored(tmp_path / "a", IMAGES).images
    assert len(set(digests)) == 3
    assert scored(tmp_path / "b", IMAGES.copy()).images == digests
    changed = IMAGES.copy()
    changed[1, 0, 0, 0] ^= 1
    others = scored(tmp_path / "c", changed).images
    assert [a == b for a, b in zip(digests, others, strict=True)] == [True, False, True]
    reshaped = scored(tmp_path / "d", IMAGES.reshape(3, 2, 8, 1)).images
    assert not set(reshaped) & set(digests)


def test_an_evaluation_of_an_earlier_version_has_none(tmp_path):
    artifact = published(tmp_path / "old", lambda path: (path.parent / "other").write_text("x"))
    assert example_scores.read(artifact) is None


def test_a_file_of_another_kind_is_refused(tmp_path):
    artifact = published(tmp_path / "evaluation", lambda path: path.write_bytes(b"no table"))
    with pytest.raises(WorkError, match="is not a table of scores"):
        example_scores.read(artifact)

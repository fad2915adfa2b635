import io

import numpy as np
import pytest
from etils import epath
from PIL import Image
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin

from components.data.examples import ExampleBatch
from pipeline.evaluate import projector
from tests.tensorboards import json_response, opened, response

RNG = np.random.default_rng(0)


def make(count: int, shape=(4, 6, 1)) -> ExampleBatch:
    images = RNG.integers(0, 256, (count, *shape), np.uint8)
    return ExampleBatch([f"id {n}" for n in range(count)], images, np.arange(count) % 3)


def write(directory, examples: ExampleBatch, *, latents: int = 4, names=("a", "b\tb", "c")):
    """Writes the files below `runs`; returns the embeddings."""
    means = RNG.standard_normal((len(examples), latents), np.float32)
    projector.write(
        epath.Path(directory / "runs/demo/evaluation/projector"),
        split="test",
        examples=examples,
        means=means,
        class_names=names,
    )
    return means


def shown(directory) -> tuple[dict, np.ndarray, list[list[str]], Image.Image]:
    """What `tensorboard --logdir runs` shows: the entry, and its points, metadata and sprite."""
    plugin = opened(ProjectorPlugin, directory / "runs")
    (run,) = json_response(plugin, "/runs")
    assert run == "demo/evaluation/projector"
    (embedding,) = json_response(plugin, "/info", run=run)["embeddings"]
    request = {"run": run, "name": embedding["tensorName"]}
    tensor = np.frombuffer(response(plugin, "/tensor", **request), np.float32)
    lines = response(plugin, "/metadata", **request).decode().splitlines()
    sprite = Image.open(io.BytesIO(response(plugin, "/sprite_image", **request)))
    points = tensor.reshape(embedding["tensorShape"])
    return embedding, points, [line.split("\t") for line in lines], sprite


@pytest.mark.parametrize("channels", [1, 3])
def test_the_projector_shows_vectors_metadata_and_images(tmp_path, channels, capsys):
    examples = make(7, (4, 6, channels))
    means = write(tmp_path, examples)
    embedding, points, metadata, sprite = shown(tmp_path)
    assert embedding["tensorName"] == "test, 7 embeddings"
    np.testing.assert_allclose(points, means, rtol=1e-5)
    assert metadata[0] == ["label_name", "label", "id"]
    assert metadata[1:4] == [["a", "0", "id 0"], ["b\\tb", "1", "id 1"], ["c", "2", "id 2"]]
    assert len(metadata) == 8
    # Three columns of images of 6 pixels, and three rows of 4 pixels.
    assert sprite.size == (18, 12)
    assert embedding["sprite"]["singleImageDim"] == [6, 4]
    pixels = np.asarray(sprite).reshape(12, 18, channels)
    np.testing.assert_array_equal(pixels[4:8, 6:12], examples.images[4])
    assert (pixels[8:, 6:] == 255).all()
    assert capsys.readouterr().err == ""


def test_of_many_examples_as_many_of_each_class_are_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(projector, "_MAX_POINTS", 6)
    examples = make(30)
    means = write(tmp_path, examples)
    embedding, points, metadata, sprite = shown(tmp_path)
    assert embedding["tensorName"] == "test, 6 of 30 embeddings, evenly by class"
    np.testing.assert_allclose(points, means[:6], rtol=1e-5)
    assert [line[1] for line in metadata[1:]] == ["0", "1", "2", "0", "1", "2"]
    np.testing.assert_array_equal(np.asarray(sprite)[4:8, :6], examples.images[3, ..., 0])
    assert capsys.readouterr().err == (
        "evaluate: TensorBoard's projector has 6 of the 30 test embeddings, evenly by class\n"
    )


def test_many_latents_leave_room_for_fewer_points(tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "_MAX_VALUES", 25)
    write(tmp_path, make(30), latents=5)
    assert len(shown(tmp_path)[1]) == 5


def test_large_images_are_shrunk_to_the_limits_of_a_sprite(tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "_MAX_SPRITE", 9)
    examples = make(7, (4, 6, 1))
    examples.images[:] = np.arange(7).reshape(7, 1, 1, 1) * 10
    write(tmp_path, examples)
    embedding, _, _, sprite = shown(tmp_path)
    # Three columns of at most three pixels.
    assert embedding["sprite"]["singleImageDim"] == [3, 2]
    assert sprite.size == (9, 6)
    assert np.asarray(sprite)[::2, ::3].ravel().tolist() == [0, 10, 20, 30, 40, 50, 60, 255, 255]


def test_the_sprite_of_the_most_points_is_within_the_limit():
    side = projector._MAX_SPRITE // projector._columns(projector._MAX_POINTS)
    assert projector._columns(projector._MAX_POINTS) == 100
    assert min(side, projector._MAX_IMAGE) * 100 <= 8192

import numpy as np
import pytest
from PIL import Image

from components.base.errors import ConfigError
from components.base.manifest import load_artifact
from pipeline.generate.given_image import GivenImage
from pipeline.generate.training_set import TrainingSet


def load(name, directory, background="black"):
    model = load_artifact(directory, stage="train")
    image = GivenImage("--near", str(name))
    return image.load(model, TrainingSet.of(model, ""), background)


def test_a_file_is_converted_as_the_model_needs_it(model_dir, tmp_path):
    file = tmp_path / "photo.png"
    Image.new("RGBA", (60, 50), (255, 0, 0, 0)).save(file)
    loaded = load(file, model_dir, "white")
    assert loaded.label is None
    np.testing.assert_array_equal(loaded.pixels, np.full((28, 28, 1), 255))
    image = GivenImage("--near", str(file))
    assert (image.name, image.config) == ("photo.png", "'photo.png'")
    assert set(image.inputs("near")) == {"near"}


def test_an_id_is_an_example_with_its_label(model_dir, example_set):
    examples = example_set.read("test")
    loaded = load(examples.ids[5], model_dir)
    np.testing.assert_array_equal(loaded.pixels, examples.images[5])
    assert loaded.label == examples.labels[5]
    assert GivenImage("--near", examples.ids[5]).inputs("near") == {}


@pytest.mark.parametrize("name", ["", "tset-0", "bad\udcff"])
def test_what_is_neither_is_explained_with_an_example(model_dir, example_set, name):
    with pytest.raises(ConfigError, match="neither an image file nor the id of an example") as got:
        load(name, model_dir)
    assert repr(example_set.read("test").ids[0]) in str(got.value)


def test_without_the_examples_their_directory_is_asked_for(moved_model):
    with pytest.raises(
        ConfigError, match=r"'x' is neither .* pass their directory with --training"
    ):
        load("x", moved_model)

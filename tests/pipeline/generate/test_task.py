import numpy as np
import pytest

from components.base.errors import ConfigError
from pipeline.generate.task import LoadedImage
from tests.pipeline.generate.opened_tasks import context

PIXELS = np.zeros((28, 28, 1), np.uint8)


def test_a_label_that_is_asked_for_goes_before_those_of_the_images(conditional_dir, model_dir):
    images = LoadedImage(PIXELS, None), LoadedImage(PIXELS, 4), LoadedImage(PIXELS, 5)
    assert context(conditional_dir, label=2).one_label(*images) == 2
    assert context(conditional_dir).one_label(*images[:2]) == 4
    assert context(model_dir).one_label(*images) is None
    with pytest.raises(ConfigError, match=r"are of the classes .* and .*; choose it with --class"):
        context(conditional_dir).one_label(*images)
    with pytest.raises(ConfigError, match="conditioned on classes; choose one with --class"):
        context(conditional_dir).one_label(images[0])


def test_one_label_is_that_of_all_images(conditional_dir, example_set):
    images = context(conditional_dir).images(None, 3, [], 7)
    np.testing.assert_array_equal(images.labels, [7, 7, 7])
    assert images.class_names == example_set.class_names

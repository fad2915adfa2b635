import numpy as np

from components.compression.hierarchy import HierarchyLatents
from components.compression.one_level import OneLevelLatents
from tests.components.compression.coded_models import HIERARCHY, random_images, tiny_model


def test_the_outputs_of_a_factorized_head_are_the_features():
    model, images = tiny_model(), random_images(4, (5, 6, 1))
    features = np.random.default_rng(0).normal(size=(4, 5, 6, 16)).astype(np.float32)
    steps = model.steps(features)
    steps.set(0, range(1), images[np.newaxis, :, 0, 0])
    found = steps.outputs(1, range(2, 4))
    assert (found == features[:, 1, 2:4].transpose(1, 0, 2)).all()


def test_the_latents_are_those_of_the_model():
    assert isinstance(tiny_model().latents, OneLevelLatents)
    assert isinstance(tiny_model((8, 8, 1), **HIERARCHY).latents, HierarchyLatents)
    assert tiny_model((4, 4, 3)).image_shape == (4, 4, 3)

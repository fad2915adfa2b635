import math

import numpy as np

from components.base.manifest import Input
from components.compression.blocks import LabeledImages
from components.model import vae
from components.model.encode import encode_and_score
from pipeline.compress.estimate import SizeEstimate, estimate
from pipeline.compress.index import FolderIndex
from tests.components.compression.coded_models import random_images, tiny_vae


class Given:
    """Images in memory."""

    input = Input(None, "")

    def __init__(self, images):
        self._images = images

    def batches(self):
        for image in self._images:
            yield LabeledImages(image[np.newaxis], np.ones(1, np.int64))

    def index(self):
        return FolderIndex([str(number) for number in range(len(self._images))])


def test_the_estimate_is_the_elbo(tmp_path):
    path = tmp_path / "model.keras"
    tiny_vae(classes=3).save(path)
    images = random_images(7, (5, 6, 1))
    found = estimate(path, Given(images))
    noise = np.random.default_rng(0).standard_normal((7, 3), np.float32)
    nats = -encode_and_score(vae.load(path), images, noise, np.ones(7, np.int64)).elbo.sum()
    assert abs(found.elbo_bytes - nats / math.log(2) / 8) < 1e-2 * found.elbo_bytes
    assert found.bytes > found.elbo_bytes
    assert "7 images will take about" in str(found)


def test_no_images_have_no_size():
    assert str(SizeEstimate(0, (1, 1, 1), 0.0, 10)) == "no images; nothing was written"

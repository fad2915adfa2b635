import numpy as np

from components.metrics.doctor_images import of_images


def codes(images: np.ndarray) -> list[str]:
    found = of_images(np.array_split(images, 3), kind="training")
    for finding in found:
        assert f"{len(images)} training images" in finding.text
        assert "\n" not in finding.text
    return [finding.code for finding in found]


def test_images_that_are_all_the_same_are_found():
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)
    assert codes(images) == []
    same = np.broadcast_to(images[:1], images.shape)
    assert codes(same) == ["constant_inputs"]
    assert codes(np.zeros_like(images)) == ["constant_inputs"]  # Not blank besides.
    one_pixel = same.copy()
    one_pixel[::2, 0, 0] ^= 255
    assert codes(one_pixel) == []
    assert of_images([images[:1]], kind="training") == []  # One image may be all there is.


def test_blank_images_are_found_from_a_tenth_of_all():
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), np.uint8)
    images[:3] = np.array([0, 7, 255]).reshape(3, 1, 1, 1)
    assert codes(images) == []
    images[3] = 255
    assert codes(images) == ["blank_inputs"]

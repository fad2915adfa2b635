import pytest

from components.base.config import from_mapping
from components.base.errors import ConfigError
from components.ingest.conversion import Conversion
from pipeline.prepare.config import PrepareConfig


def config(**fields: str) -> PrepareConfig:
    return from_mapping(PrepareConfig, fields, where="a test")


@pytest.mark.parametrize(
    ("image_size", "channels", "expected"),
    [
        ("", "none", Conversion(None, None)),
        ("64", "none", Conversion((64, 64), None)),
        ("48x64", "3", Conversion((48, 64), 3)),
    ],
)
def test_the_request_has_the_conversion(image_size, channels, expected):
    request = config(image_size=image_size, channels=channels).request("cats")
    assert request.dataset == "cats"
    assert request.conversion == expected


def test_the_request_has_the_options_of_the_source():
    fields = {"data_dir": "data", "features": "image=x", "synthetic_size": "7"}
    request = config(**fields, synthetic_seed="3", load_bytes="9").request("cats")
    assert request.load_bytes == 9
    assert (request.data_dir, request.features) == ("data", "image=x")
    assert (request.size, request.seed) == (7, 3)
    assert (request.splits, request.label_depth) == ("", None)
    request = config(splits="train=a,test=b", label_depth="0").request("cats")
    assert (request.splits, request.label_depth) == ("train=a,test=b", 0)


@pytest.mark.parametrize("image_size", ["0", "64x", "64x64x3", "-1", "x64", "1e3", "6 4"])
def test_an_image_size_must_be_one_or_two_positive_numbers(image_size):
    with pytest.raises(ConfigError, match=r"image_size must be N or HEIGHTxWIDTH\. Received"):
        config(image_size=image_size)


def test_an_image_size_must_fit_in_memory():
    with pytest.raises(ConfigError, match="image_size must have at most 33,554,432 pixels"):
        config(image_size="8192x8192")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("channels", "2", "channels must be 1 or 3"),
        ("validation_fraction", "1", "validation_fraction must be at least 0 and less than 1"),
        ("validation_fraction", "-0.1", "validation_fraction must be at least 0 and less than 1"),
        ("label_depth", "-1", "label_depth must be at least 0"),
        ("synthetic_seed", "-1", "synthetic_seed must be at least 0"),
        ("shard_bytes", "0", "shard_bytes must be at least 1"),
        ("load_bytes", "0", "load_bytes must be at least 1"),
        ("synthetic_size", "0", "synthetic_size must be at least 1"),
        ("duplicates", "remove", "duplicates in a test must be one of keep, drop, error"),
    ],
)
def test_a_value_out_of_range_is_an_error(name, value, message):
    with pytest.raises(ConfigError, match=f"{message}.* Received: '?{value}"):
        config(**{name: value})


@pytest.mark.parametrize("background", ["black", "white"])
def test_the_background_is_part_of_the_conversion(background):
    assert config(background=background).request("a").conversion.background == background


def test_another_background_is_refused():
    with pytest.raises(ConfigError, match="background in a test must be one of black, white"):
        config(background="grey")


def test_the_layout_is_checked_and_requested():
    assert PrepareConfig(layout="HWN").request("a").layout == "HWN"
    with pytest.raises(ConfigError, match="layout must be the order of the axes"):
        PrepareConfig(layout="HWX")


def test_integers_beyond_64_bits_are_refused():
    largest = 2**63 - 1
    assert config(shard_bytes=str(largest)).shard_bytes == largest
    for name in ("shard_bytes", "load_bytes", "synthetic_seed", "label_depth"):
        with pytest.raises(ConfigError, match=f"{name} in a test must be a whole number below"):
            config(**{name: str(largest + 1)})

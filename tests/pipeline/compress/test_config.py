import pytest

from components.base.errors import ConfigError
from components.compression import archive_format
from pipeline.compress import config
from pipeline.compress.config import CompressConfig


@pytest.mark.parametrize(
    "fields", [{"block_images": 0}, {"block_images": 70_000}, {"latent_bits": 13}]
)
def test_impossible_settings_are_refused(fields):
    (name,) = fields
    with pytest.raises(ConfigError, match=f"{name} must be from 1 to"):
        CompressConfig(**fields)


def test_the_limits_are_those_of_the_format():
    assert config._MAX_BLOCK_IMAGES == archive_format.MAX_BLOCK_IMAGES
    assert config._MAX_LATENT_BITS == archive_format.MAX_LATENT_BITS

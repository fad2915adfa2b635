import pytest

from components.base.errors import ConfigError
from pipeline.denoise.config import DenoiseConfig


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"samples": 0}, "samples must be from 1 to 1,000. Received: 0"),
        ({"samples": 1001}, "samples must be from 1 to 1,000"),
        ({"sample": -1}, "sample must be from 0 to samples, which is 64. Received: -1"),
        ({"samples": 3, "sample": 4}, "sample must be from 0 to samples, which is 3"),
    ],
)
def test_numbers_out_of_range_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        DenoiseConfig(**fields)

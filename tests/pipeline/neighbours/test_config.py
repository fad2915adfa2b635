import pytest

from components.base.config import from_mapping
from components.base.errors import ConfigError
from pipeline.neighbours.config import NeighboursConfig


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"count": "0"}, "count must be from 1 to 200. Received: 0"),
        ({"count": "201"}, "count must be from 1 to 200"),
        ({"threshold": "-0.5"}, "threshold must be at least 0. Received: -0.5"),
        ({"background": "pink"}, "background in a test must be one of black, white"),
    ],
)
def test_a_wrong_setting_is_explained(fields, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(NeighboursConfig, fields, where="a test")


def test_the_settings_of_a_command_line_are_converted():
    config = from_mapping(NeighboursConfig, {"count": "20", "threshold": "0"}, where="a test")
    assert config == NeighboursConfig(count=20, threshold=0.0, background=None)

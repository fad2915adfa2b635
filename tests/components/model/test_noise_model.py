import pytest

from components.base.errors import ConfigError
from components.model.noise_model import parse_noise_model


def test_the_standard_deviation_is_read():
    assert parse_noise_model("gaussian:0.25") == 0.25
    assert parse_noise_model("none") is None


@pytest.mark.parametrize(
    "text", ["mask:0.2", "gaussian:0.1-0.2", "gaussian:0", "gaussian:1,mask:1"]
)
def test_another_noise_is_refused(text):
    with pytest.raises(ConfigError, match="noise_model must be gaussian with one standard devi"):
        parse_noise_model(text)


def test_the_message_of_an_unreadable_setting_names_the_setting():
    with pytest.raises(ConfigError, match="in noise_model"):
        parse_noise_model("gauss:0.2")

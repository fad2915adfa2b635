import pytest

from components.base.errors import ConfigError
from components.compression import suitability
from tests.components.compression.coded_models import tiny_vae


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"likelihood": "bernoulli"}, "its likelihood bernoulli gives no probabilities"),
        ({"likelihood": "gaussian"}, "its likelihood gaussian gives no probabilities"),
    ],
)
def test_other_models_are_refused_in_one_line(tmp_path, settings, reason):
    from etils import epath

    path = epath.Path(tmp_path / "model.keras")
    tiny_vae((8, 8, 1), **settings).save(path)
    with pytest.raises(ConfigError, match=reason) as error:
        suitability.check(path)
    assert "--preset lossless" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mixture_of_logistics_is_accepted(tmp_path):
    from etils import epath

    path = epath.Path(tmp_path / "model.keras")
    tiny_vae(head="causal", prior="real_nvp").save(path)
    suitability.check(path)

import pytest

from components.base.config import from_mapping
from components.base.errors import ConfigError
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.metrics import METRICS


def test_options_are_converted_from_text():
    values = {"draws": "7", "draws_seed": "3"}
    config = from_mapping(EvaluateConfig, values, where="a test")
    assert config == EvaluateConfig(draws=7, draws_seed=3)


@pytest.mark.parametrize(
    "fields", [{"draws": 0}, {"draws": -1}, {"draws": 10**9}, {"draws_seed": -1}]
)
def test_a_value_out_of_range_is_an_error(fields):
    with pytest.raises(
        ConfigError, match="draws must be from 1 to 1,000,000, and draws_seed at least 0"
    ):
        EvaluateConfig(**fields)


def test_metrics_are_chosen_by_name_in_any_order():
    config = from_mapping(EvaluateConfig, {"metrics": "psnr, nll,elbo,psnr"}, where="a test")
    assert config.metrics == ("elbo", "rate", "distortion", "nll", "psnr")
    assert config == EvaluateConfig(metrics=("nll", "psnr"))
    assert EvaluateConfig().metrics == tuple(METRICS)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("elbo,pnsr", r"unknown metric 'pnsr' in metrics; nearest: psnr"),
        ("", "unknown metric '' in metrics; valid: "),
    ],
)
def test_an_unknown_metric_is_an_error_of_one_line(metrics, message):
    with pytest.raises(ConfigError, match=message) as error:
        from_mapping(EvaluateConfig, {"metrics": metrics}, where="a test")
    assert "\n" not in str(error.value)

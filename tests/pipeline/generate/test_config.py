import pytest

from components.base.errors import ConfigError
from components.model import samplers
from pipeline.generate.config import (
    COMPONENTS,
    INTERPOLATION,
    SAMPLES,
    SETTINGS,
    TRAVERSAL,
    VARIATIONS,
    GenerateConfig,
)


def test_the_default_fit_is_that_of_the_evaluation():
    assert COMPONENTS == samplers.COMPONENTS


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"count": 0}, "count must be from 1 to 100,000. Received: 0"),
        ({"count": 100_001}, "Received: 100001"),
        ({"steps": 1}, "steps must be from 2 to 1,000"),
        ({"components": 0}, "components must be from 1"),
        ({"temperature": -0.5}, "temperature must be from 0 to 1,000. Received: -0.5"),
        ({"temperature": 1e38}, r"temperature must be from 0 to 1,000. Received: 1e\+38"),
        ({"radius": -1.0}, "radius must be from 0 to 1,000"),
        ({"radius": 1001.0}, "radius must be from 0 to 1,000"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_values_out_of_range_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        GenerateConfig(**fields)


def test_the_manifest_has_the_settings_that_matter():
    config = GenerateConfig(count=3, training_examples="x")
    for kind, names in SETTINGS.items():
        if kind != INTERPOLATION:
            assert set(config.of(kind)) == set(names)
            assert config.of(kind)["count"] == 3


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (SAMPLES, {"radius": 2.0}, "--radius has no effect on samples; leave it out"),
        (VARIATIONS, {"temperature": 0.5}, "--temperature has no effect on --near"),
        (INTERPOLATION, {"count": 3}, "--count has no effect on --interpolate"),
        (TRAVERSAL, {"seed": 1}, "--seed has no effect on --traverse"),
    ],
)
def test_a_setting_without_effect_is_refused(kind, fields, message):
    with pytest.raises(ConfigError, match=message):
        GenerateConfig(**fields).of(kind)

import dataclasses

import pytest

from components.base.config import from_mapping, option
from components.base.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Example:
    """An example."""

    size: int = option(3, "a size")
    rate: float = option(0.5, "a rate")
    name: str = option("x", "a name", choices=("x", "y"))
    widths: tuple[int, ...] = option((1, 2), "widths")


def test_texts_and_values_are_converted():
    texts = {"size": "4", "rate": "1e-3", "name": "y", "widths": "5,6"}
    values = {"size": 4, "rate": 0.001, "name": "y", "widths": [5, 6]}
    expected = Example(4, 0.001, "y", (5, 6))
    assert from_mapping(Example, texts, where="here") == expected
    assert from_mapping(Example, values, where="here") == expected
    assert from_mapping(Example, {"widths": 5, "rate": 1}, where="here").widths == (5,)


def test_a_config_round_trips():
    config = Example(4, 0.25, "y", (7,))
    assert from_mapping(Example, dataclasses.asdict(config), where="here") == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sise": 3}, "unknown field 'sise' in here; nearest: size"),
        ({"size": "3.5"}, "size in here must be a whole number. Received: '3.5'"),
        ({"size": float("inf")}, "size in here must be a whole number"),
        ({"rate": "nan"}, "rate in here must be a finite number"),
        ({"size": True}, "size in here must be a whole number"),
        ({"rate": "fast"}, "rate in here must be a finite number. Received: 'fast'"),
        ({"widths": "a,b"}, "widths in here must be whole numbers with commas between"),
        ({"name": "z"}, "name in here must be one of x, y. Received: 'z'"),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(Example, values, where="here")

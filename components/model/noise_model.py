"""The known noise of the images that a model is trained on, as a setting. It imports no Keras."""

from components.base.errors import ConfigError
from components.model.corruption import NO_CORRUPTION, parse_corruption

_KIND = "gaussian"


def parse_noise_model(text: str) -> float | None:
    """The standard deviation of the noise that a setting names, such as `gaussian:0.2`.

    Returns:
      The standard deviation in units of intensity; None for `none`.

    Raises:
      ConfigError: the text does not name noise of one standard deviation greater than 0.
    """
    noise = parse_corruption(text, setting="noise_model")
    if noise is None:
        return None
    first = noise.noises[0]
    if len(noise.noises) > 1 or first.kind != _KIND or not 0 < first.low == first.high:
        raise ConfigError(
            f"noise_model must be {_KIND} with one standard deviation greater than 0, such as "
            f"{_KIND}:0.2, or {NO_CORRUPTION}. Received: {text}"
        )
    return first.low

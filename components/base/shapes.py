"""Image shapes and their notation."""

from collections.abc import Iterable

Shape = tuple[int, int, int]  # (height, width, channels)


def format_shape(shape: Iterable[int]) -> str:
    """A shape in the notation of options and messages, such as `28x28x1`."""
    return "x".join(map(str, shape))

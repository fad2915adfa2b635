"""The shape of an image, and how people write it."""

from collections.abc import Iterable

Shape = tuple[int, int, int]  # height, width, channels


def format_shape(shape: Iterable[int]) -> str:
    """A shape as people write it: 28x28x1."""
    return "x".join(map(str, shape))

"""Draws many small images at once from formulas: shapes, and the cloth that fills them.

Coordinates are in pixels from the center of the image, x to the right and y down. Each varies along
one axis: x has shape [N, 1, 28], y has shape [N, 28, 1]. Outlines are computed along one axis and
broadcast to all pixels only when they are combined, which makes drawing fast.

A shape is a signed distance field: the distance of each pixel from the outline, in pixels, positive
inside. The distance plus 0.5, clipped to 0..1, is the covered part of a pixel, which gives smooth
edges without supersampling. Everything that differs between images, such as a width or a
brightness, is a random array of shape [N, 1, 1].
"""

import functools

import numpy as np
import numpy.typing as npt

IMAGE_SHAPE = (28, 28, 1)

Field = npt.NDArray[np.floating]  # broadcasts to [N, 28, 28]
Value = Field | float

PIXELS = np.arange(28, dtype=np.float32) - 13.5  # centers of the pixels of a row

# Strength of the hoops, stripes, stitches, grain and blotches of each fabric.
FABRICS: dict[str, tuple[float, float, float, float, float]] = {
    "plain": (0.00, 0.00, 0.00, 0.06, 0.00),
    "hooped": (0.30, 0.00, 0.00, 0.06, 0.00),
    "striped": (0.00, 0.22, 0.00, 0.06, 0.00),
    "checked": (0.20, 0.20, 0.00, 0.08, 0.00),
    "knit": (0.04, 0.00, 0.10, 0.08, 0.00),
    "tweed": (0.00, 0.00, 0.00, 0.18, 0.04),
    "floral": (0.00, 0.00, 0.00, 0.15, 0.30),
}


def radius(x: Field, y: Field) -> Field:
    """Distance from the origin, computed several times faster than by `np.hypot`."""
    return np.sqrt(x * x + y * y)


def profile(at: Field, *knots: tuple[Value, Value]) -> Field:
    """A curve through (position, value) knots in rising order, constant beyond the outer knots."""
    position, value = knots[0]
    curve = value + 0 * at
    for next_position, next_value in knots[1:]:
        t = np.clip((at - position) / (next_position - position), 0, 1)
        eased = t * (0.5 + t * (1.5 - t))  # halfway between a straight line and a smooth step
        curve = curve + (next_value - value) * eased
        position, value = next_position, next_value
    return curve


def below(value: Field, limit: Field) -> Field:
    """The shape of all points where `value` is less than `limit`, a curve along the other axis.

    The distance to the curve is approximated by the distance along the axis of `value`, divided by
    sqrt(1 + slope**2), so that steep outlines are as smooth as level ones.
    """
    slope = np.gradient(limit, axis=1 if limit.shape[1] > 1 else 2)
    return (limit - value) / np.sqrt(1 + slope * slope)


def overlap(*shapes: Field) -> Field:
    """The intersection of shapes."""
    return functools.reduce(np.minimum, shapes)


def rounded(a: Field, b: Field, corner: Value) -> Field:
    """The intersection of two shapes, with corners rounded to a radius of `corner` pixels."""
    a, b = corner - a, corner - b
    return corner - radius(np.maximum(a, 0), np.maximum(b, 0)) - np.minimum(np.maximum(a, b), 0)


def limb(
    x: Field, y: Field, angle: Field, length: Value, widths: tuple[Value, Value], bow: Value = 0.0
) -> Field:
    """A tapered strip with a round start and a straight end.

    Args:
      x: x from the start of the strip.
      y: y from the start of the strip.
      angle: direction in radians: 0 is down, positive towards +x.
      length: length in pixels.
      widths: half of the width at the start and at the end, in pixels.
      bow: how far the middle bends sideways, in pixels.
    """
    sin, cos = np.sin(angle), np.cos(angle)
    along = x * sin + y * cos
    t = np.clip(along / length, 0, 1)
    across = x * cos - y * sin - 4 * bow * t * (1 - t)
    width = widths[0] + (widths[1] - widths[0]) * t
    return np.minimum(width - radius(across, np.minimum(along, 0)), length - along)


def ellipse(x: Field, y: Field, radius_x: Value, radius_y: Value) -> Field:
    """A filled ellipse. The distance is approximate, and nearly exact at the outline."""
    return (1 - radius(x / radius_x, y / radius_y)) * np.minimum(radius_x, radius_y)


def to_multiple(coordinate: Field, period: Value) -> Field:
    """Distance to the nearest multiple of `period`, for rows of laces, straps and buttons."""
    return np.abs(coordinate - period * np.round(coordinate / period))


class Drawing:
    """Unfinished images of one class.

    Args:
      count: number of images N.
      rng: random generator for everything that differs between images.

    Attributes:
      x: shape [N, 1, 28], slightly shifted and scaled in each image.
      y: shape [N, 28, 1], slightly shifted and scaled in each image.
      tones: shape [N, 28, 28]; 1 is the tone of the cloth, 0 is the background.
    """

    def __init__(self, count: int, rng: np.random.Generator):
        self.count = count
        self.rng = rng
        size = self.vary(0.93, 1.02)
        self.x: Field = (PIXELS - self.vary(-0.7, 0.7)) / size
        self.y: Field = (PIXELS[:, None] - self.vary(-0.6, 0.6)) / size
        self.tones: Field = np.zeros((count, 28, 28), np.float32)

    def vary(self, low: float, high: float) -> Field:
        """Uniform random values, shape [N, 1, 1]."""
        return self.rng.uniform(low, high, (self.count, 1, 1)).astype(np.float32)

    def some(self, share: float) -> Field:
        """One for a random `share` of the images and zero for the others, shape [N, 1, 1]."""
        return (self.vary(0, 1) < share).astype(np.float32)

    def accent(self) -> Field:
        """Random tones that differ from the cloth, either dark or light, shape [N, 1, 1]."""
        return self.vary(0.2, 0.6) + 1.1 * self.some(0.4)

    def paint(self, shape: Field, tone: Value, opacity: Value = 1.0) -> None:
        """Paints a shape in an even tone over the image."""
        self.tones += np.clip(shape + 0.5, 0, 1) * opacity * (tone - self.tones)

    def drape(self, shape: Field, tone: Value = 1.0, opacity: Value = 1.0) -> None:
        """Paints a piece of cloth over the image; it is darker at its edge, as if rounded."""
        self.paint(shape, tone * (0.7 + 0.3 * np.clip(shape / 2, 0, 1)), opacity)

    def finish(self, fabrics: tuple[str, ...]) -> npt.NDArray[np.uint8]:
        """Multiplies the tones of each image by a random cloth.

        Args:
          fabrics: the fabrics to choose from; a repeated fabric is more frequent.

        Returns:
          The images, uint8, shape [N, 28, 28].
        """
        x, y, vary = self.x, self.y, self.vary
        table = np.array([FABRICS[fabric] for fabric in fabrics], np.float32)
        strengths = table[self.rng.integers(len(table), size=self.count)]
        hooped, striped, knit, grain, blotched = strengths.T[..., None, None]

        balance = vary(-0.7, 0.7)  # how much wider light stripes are than dark ones
        hoops = np.clip(3 * (np.sin(y * vary(1.0, 2.2) + vary(0, 6)) + balance), -1, 1)
        stripes = np.clip(3 * (np.sin(x * vary(1.2, 2.4) + vary(0, 6)) + balance), -1, 1)
        stitches = np.sin(x * vary(1.5, 3.0)) * np.sin(y * vary(1.5, 3.0))
        folds = np.sin(x * vary(0.3, 0.9) + y * vary(-0.2, 0.2) + vary(0, 6))
        noise = self.rng.random((self.count, 29, 29), np.float32) - 0.5
        blotches = noise[:, 1:] + noise[:, :-1]
        blotches = np.clip(3 * (blotches[:, :, 1:] + blotches[:, :, :-1]), -1, 1)

        down = 1 + hooped * hoops + vary(-0.008, 0.008) * y
        sideways = striped * stripes + vary(-0.008, 0.008) * x
        cloth = down + sideways + knit * stitches + vary(0, 0.08) * folds
        cloth += grain * noise[:, 1:, 1:] + blotched * blotches
        brightness = 255 * np.sqrt(vary(0.06, 1.0))
        return np.clip(self.tones * cloth * brightness, 0, 255).astype(np.uint8)

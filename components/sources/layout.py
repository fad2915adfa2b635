"""The order of the axes in arrays of images: stated by the user, or inferred from the shapes.

The command line checks a layout before any work starts, so this module imports no NumPy.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from components.base.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

# Gray or RGB, without or with alpha.
ARRAY_CHANNELS = (1, 2, 3, 4)

_FLAT = re.compile(r"N([1-9]\d*)x([1-9]\d*)(?:x([1-9]\d*))?")
_AXES = tuple("".join(sorted(axes)) for axes in ("HW", "NHW", "HWC", "NHWC"))
_DEFAULTS = {3: "NHW", 4: "NHWC"}
_OTHERS = {3: ("HWN", "HWC", "CHW"), 4: ("NCHW", "HWCN", "CHWN")}
# Another order is plausible only if it gives images of at least this height and width,
_MIN_SIDE = 8
# and, with the number of images last, images that are square or far less elongated.
_MAX_ASPECT = 2
_ELONGATED = 8


@dataclasses.dataclass(frozen=True)
class AxisLayout:
    """The order of the axes of an array: N images, height, width and channels.

    Attributes:
      axes: a letter for each axis, in the stored order: `NCHW`; without N, the array is one image.
      sides: sizes of the axes after N, if each image is stored as one flat row; otherwise ().
    """

    axes: str
    sides: tuple[int, ...] = ()

    @staticmethod
    def parse(text: str) -> "AxisLayout":
        """Parses a permutation of NHWC, NHW, HWC or HW, or flat rows as `N28x28` or `N3x32x32`.

        Raises:
          ConfigError: the text is not of this form.
        """
        if match := _FLAT.fullmatch(text):
            sides = tuple(int(side) for side in match.groups() if side)
            if len(sides) == 2:
                return AxisLayout("NHW", sides)
            # 4 may be a height; 3 beside it is the number of channels.
            for channels in ((1, 3), ARRAY_CHANNELS):
                is_first, is_last = (sides[place] in channels for place in (0, 2))
                if is_first != is_last:
                    return AxisLayout("NCHW" if is_first else "NHWC", sides)
        elif "".join(sorted(text)) in _AXES:
            return AxisLayout(text)
        raise ConfigError(
            "layout must be the order of the axes, such as HWN, NCHW or HWC, or the shape of the "
            f"images in flat rows, such as N28x28, N3x32x32 or N32x32x3. Received: {text!r}"
        )

    def as_text(self) -> str:
        """The text that `parse` parses to this layout."""
        return "N" + "x".join(map(str, self.sides)) if self.sides else self.axes

    @property
    def is_by_image(self) -> bool:
        """Whether the images are stored one after the other."""
        return self.axes[0] == "N"

    def shape_after(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an array in the order NHW or NHWC.

        Args:
          name: name of the array, for messages.
          shape: shape in the stored order.

        Raises:
          ConfigError: the array cannot have this layout.
        """
        axes = 2 if self.sides else len(self.axes)
        if len(shape) != axes or (self.sides and math.prod(self.sides) != shape[1]):
            raise ConfigError(
                f"{name} has shape {shape}, which --layout {self.as_text()} does not fit; give the "
                "order of its own axes"
            )
        sizes = dict(zip(self.axes, (shape[0], *self.sides) if self.sides else shape, strict=True))
        return (sizes.get("N", 1), *(sizes[axis] for axis in self._image_axes))

    def arrange(self, pixels: "np.ndarray") -> "np.ndarray":
        """A view of an array, or of consecutive flat or N-first rows of it, as NHW or NHWC."""
        if self.sides:
            pixels = pixels.reshape(-1, *self.sides)
        axes = self.axes
        if "N" not in axes:
            pixels, axes = pixels[None], f"N{axes}"
        return pixels.transpose([axes.index(axis) for axis in ("N", *self._image_axes)])

    @property
    def _image_axes(self) -> str:
        return "HWC" if "C" in self.axes else "HW"


def check_unambiguous(
    images: Mapping[str, tuple[str, tuple[int, ...]]], num_labels: Mapping[str, int]
) -> None:
    """Checks that the axes of arrays of images can be read in the usual order only.

    The usual order is NHW or NHWC. It is confirmed by as many labels as images, or by an array of
    another split that has images of the same shape.

    Args:
      images: name and shape of the array of images of each split.
      num_labels: number of labels of each split that has labels.

    Raises:
      ConfigError: an array can be read in another order, or in no usual one; names `--layout`.
    """
    for split, (name, shape) in images.items():
        others = [layout for layout in _likely_layouts(shape) if layout != _usual(shape)]
        if not others or _is_confirmed(split, images, num_labels, others):
            continue
        readings = [layout for layout in (_usual(shape), *others) if layout is not None]
        options = [f"--layout {layout.as_text()}" for layout in readings]
        described = [f"{layout.as_text()} ({_describe(layout, shape)})" for layout in readings]
        which = "which" if readings[1:] else "so"
        first = "channels first; it " if _is_channels_first(readings) else ""
        raise ConfigError(
            f"{name} has shape {shape}, {first or 'which '}can be read as "
            f"{' or '.join(described)}; say {which} with {' or '.join(options)}"
        )


def _is_channels_first(readings: list[AxisLayout]) -> bool:
    return [layout.axes for layout in readings] == ["NCHW"]


def _is_confirmed(
    split: str,
    images: Mapping[str, tuple[str, tuple[int, ...]]],
    num_labels: Mapping[str, int],
    others: list[AxisLayout],
) -> bool:
    """Whether labels or another split show that an array has the usual order of axes."""
    name, shape = images[split]
    if _usual(shape) is None:
        return False
    counts = {layout.shape_after(name, shape)[0] for layout in others}
    has_label_each = num_labels.get(split) == shape[0] and shape[0] not in counts
    return has_label_each or any(
        other[1:] == shape[1:] and other[0] != shape[0] for _, other in images.values()
    )


def _usual(shape: tuple[int, ...]) -> AxisLayout | None:
    """The usual order of axes, if an array of this shape can have it."""
    axes = _DEFAULTS.get(len(shape))
    is_possible = axes is not None and (len(shape) == 3 or shape[3] in ARRAY_CHANNELS)
    return AxisLayout(axes) if axes is not None and is_possible else None


def _likely_layouts(shape: tuple[int, ...]) -> list[AxisLayout]:
    """The unusual layouts that are plausible for an array of this shape."""
    if len(shape) == 2:
        return _flat_layouts(shape)
    usual = _usual(shape)
    layouts = []
    for layout in map(AxisLayout, _OTHERS.get(len(shape), ())):
        _, height, width, *channels = layout.shape_after("", shape)
        # In the usual order, it is one image.
        is_one = shape[0] == 1 and usual is not None
        is_image = min(height, width) >= _MIN_SIDE and set(channels) <= {1, 3, 4}
        # Without a usual order, even small images may be meant.
        is_image = is_image or (usual is None and set(channels) <= {1, 3, 4} and min(shape) > 0)
        if is_image and not is_one and (layout.axes != "HWN" or _is_last_axis_count(shape)):
            layouts.append(layout)
    return layouts


def _is_last_axis_count(shape: tuple[int, ...]) -> bool:
    """Whether the last of three axes may be the number of images rather than the width."""
    first, second, last = shape
    if last in (1, 3, 4):
        return False  # It is the number of channels, if it is not the width.
    if first == second:
        return last != second
    return _aspect(first, second) <= _MAX_ASPECT and _aspect(second, last) >= _ELONGATED


def _aspect(one: int, other: int) -> float:
    return max(one, other) / max(1, min(one, other))


def _flat_layouts(shape: tuple[int, ...]) -> list[AxisLayout]:
    """The layouts of flat rows of square images, gray or RGB."""
    size = shape[1]
    side = math.isqrt(size)
    if side >= 2 and side * side == size:
        return [AxisLayout("NHW", (side, side))]
    side = math.isqrt(size // 3)
    if side >= 5 and 3 * side * side == size:
        return [AxisLayout("NHWC", (side, side, 3)), AxisLayout("NCHW", (3, side, side))]
    return []


def _describe(layout: AxisLayout, shape: tuple[int, ...]) -> str:
    """The content of an array of this shape in a layout: `200 images of 28x28`."""
    count, *image = layout.shape_after("", shape)
    return f"{count:,} image{'' if count == 1 else 's'} of {'x'.join(map(str, image))}"

"""The settings of image conversion.

They are separate from `convert`, which applies them, because the command line needs them early and
must not import NumPy or Pillow.
"""

import dataclasses
from typing import Any

BACKGROUNDS = {"black": 0, "white": 255}  # Intensities.
MAX_PIXELS = 2**25  # Pixel limit per image, before and after conversion.


@dataclasses.dataclass(frozen=True)
class Conversion:
    """The target of a conversion. The default keeps size and channels.

    Attributes:
      image_size: (height, width) in pixels, or None to keep the size.
      channels: 1 or 3, or None to keep the channels.
      background: name of the color that transparent pixels are blended with, in BACKGROUNDS.
    """

    image_size: tuple[int, int] | None = None
    channels: int | None = None
    background: str = "black"

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON values, for the manifest."""
        size = list(self.image_size) if self.image_size else None
        background = {} if self.background == "black" else {"background": self.background}
        return {"image_size": size, "channels": self.channels, **background}


AS_IS = Conversion()

"""What images are turned into. Light, since the command line asks for it before any work."""

import dataclasses
from typing import Any

MAX_PIXELS = 2**25  # of an image that is read, or made


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What images are turned into; the default leaves them as they are.

    Attributes:
      image_size: (height, width).
      channels: 1 or 3.
    """

    image_size: tuple[int, int] | None = None
    channels: int | None = None

    def as_json(self) -> dict[str, Any]:
        """As it stands in the manifest."""
        size = list(self.image_size) if self.image_size else None
        return {"image_size": size, "channels": self.channels}


AS_IT_IS = Conversion()

"""The doctor's checks of the images themselves: whether there is anything to learn from them."""

from collections.abc import Iterable

import numpy as np

from components.metrics.doctor import ERROR, WARNING, Finding

# Images whose standard deviation is below this many of 256 levels are constant: the root of the
# variance over the images, averaged over the pixels.
_CONSTANT_LEVELS = 0.5
# A larger share of blank images is a finding.
_BLANK_SHARE = 0.1


def of_images(batches: Iterable[np.ndarray], *, kind: str) -> list[Finding]:
    """Whether there is anything to learn from the images themselves.

    Args:
      batches: images, uint8, shape [N, height, width, channels]; at least one image in all.
      kind: what images they are, such as `training`.
    """
    count, blank = 0, 0
    total = squares = np.zeros((), np.int64)
    for images in batches:
        count += len(images)
        total = total + images.sum(axis=0, dtype=np.int64)
        squares = squares + np.square(images, dtype=np.int64).sum(axis=0)
        flat = images.reshape(len(images), -1)
        blank += int(np.count_nonzero(flat.min(axis=1) == flat.max(axis=1)))
    variances = squares / count - np.square(total / count)
    found = []
    if count > 1 and variances.mean() < _CONSTANT_LEVELS**2:
        found.append(
            Finding(
                "constant_inputs",
                ERROR,
                f"the {count:,} {kind} images are all the same: they differ by less than "
                f"{_CONSTANT_LEVELS:g} of 256 levels, so there is nothing to learn: look at the "
                "contact sheet of the dataset, and prepare the right images",
            )
        )
    elif blank > _BLANK_SHARE * count:
        found.append(
            Finding(
                "blank_inputs",
                WARNING,
                f"{blank:,} of {count:,} {kind} images are blank, each of one color throughout: "
                "look at the contact sheet of the dataset, and at the option background of prepare",
            )
        )
    return found

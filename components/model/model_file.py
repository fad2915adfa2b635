"""What a `.keras` file says about its model, read without loading the model or TensorFlow."""

import json
import zipfile

from etils import epath

from components.base.errors import WorkError
from components.base.shapes import Shape


def image_shape(path: epath.Path) -> Shape:
    """(height, width, channels) of the images that the VAE in a `.keras` file was trained on.

    Raises:
      WorkError: the file is not a saved VAE.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            height, width, channels = json.loads(archive.read("config.json"))["config"][
                "image_shape"
            ]
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError):
        raise WorkError(f"{path} is not a VAE of this project; train it again") from None
    return height, width, channels

"""The content of `.keras` files, read without importing Keras or TensorFlow.

A `.keras` file is a zip archive of a config and the weights. It may come from someone else, so
nothing in it is imported or run: the config must be that of this project's VAE, a few numbers and
names. The members are stored uncompressed, so reading takes no more memory than the file is large.
"""

import dataclasses
from typing import Any

from etils import epath

from components.base import files, json_types
from components.base.errors import WorkError
from components.base.plain_zip import PlainZip
from components.base.shapes import Shape

_CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"
_MEMBERS = {_CONFIG, _WEIGHTS, "metadata.json"}
_MAX_CONFIG_BYTES = 64 << 10
# Of a list in the config, such as the layers' widths.
_MAX_ELEMENTS = 256
# The name that `components.model.vae` registers.
_REGISTERED_NAME = "vae_pipeline>VAE"
# Keras describes the data type as an object. The VAE's constructor sets it. Earlier versions had
# priors with components; the setting is in the files of models with other priors, too.
_IGNORED = ("dtype", "prior_components")


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """The content of a `.keras` file.

    Attributes:
      config: arguments of the VAE's constructor: numbers, text, truth values, and lists of them.
      weights: an HDF5 file.
    """

    config: dict[str, Any]
    weights: bytes


def read(path: epath.Path) -> ModelFile:
    """Reads a `.keras` file.

    Raises:
      WorkError: the file is not a saved VAE of this project, or is damaged.
    """
    with files.open_regular(path) as file:
        try:
            archive = PlainZip(file)
            return ModelFile(_read_config(archive), archive.read(_WEIGHTS))
        except ValueError as error:
            raise invalid(path, str(error)) from error


def image_shape(path: epath.Path) -> Shape:
    """(height, width, channels) of the images that the VAE in a `.keras` file was trained on.

    Raises:
      WorkError: the file is not a saved VAE of this project.
    """
    height, width, channels = _read_setting(path, "image_shape", tuple[int, int, int], None)
    return height, width, channels


def num_classes(path: epath.Path) -> int:
    """The number of labels that the VAE in a `.keras` file is conditioned on; 0 for none.

    Raises:
      WorkError: the file is not a saved VAE of this project.
    """
    # Files of earlier versions do not have the setting.
    return _read_setting(path, "classes", int, 0)


def num_levels(path: epath.Path) -> int:
    """The number of levels of latents of the VAE in a `.keras` file.

    Raises:
      WorkError: the file is not a saved VAE of this project.
    """
    # Files of earlier versions do not have the setting.
    return _read_setting(path, "levels", int, 1)


def prior_name(path: epath.Path) -> str:
    """The name of the prior of the VAE in a `.keras` file.

    Raises:
      WorkError: the file is not a saved VAE of this project.
    """
    # Files of earlier versions do not have the setting.
    return _read_setting(path, "prior", str, "standard_normal")


def _read_setting(path: epath.Path, name: str, type_: Any, default: Any) -> Any:
    """An argument of the VAE's constructor, of a type. Raises the errors of `image_shape`."""
    with files.open_regular(path) as file:
        try:
            value = _read_config(PlainZip(file)).get(name, default)
            return json_types.parse(type_, value, where=name)
        except ValueError as error:
            raise invalid(path, str(error)) from error


def invalid(path: epath.Path, reason: str) -> WorkError:
    """The error for a file that is not a saved VAE of this project."""
    return WorkError(
        f"{path} is not a VAE of this project: {reason}; restore the file, or train the model again"
    )


def _read_config(archive: PlainZip) -> dict[str, Any]:
    """The arguments of the VAE's constructor. Raises ValueError if they are not in the archive."""
    if archive.sizes.keys() != _MEMBERS:
        raise ValueError(f"it does not consist of {', '.join(sorted(_MEMBERS))}")
    if archive.sizes[_CONFIG] > _MAX_CONFIG_BYTES:
        raise ValueError(f"its {_CONFIG} has more than {_MAX_CONFIG_BYTES:,} bytes")
    value = json_types.parse_text(archive.read(_CONFIG))
    if not isinstance(value, dict) or value.get("registered_name") != _REGISTERED_NAME:
        raise ValueError(f"its {_CONFIG} does not describe a {_REGISTERED_NAME}")
    config = json_types.parse(dict[str, Any], value.get("config"), where="config")
    config = {name: value for name, value in config.items() if name not in _IGNORED}
    for name, setting in config.items():
        elements = setting if isinstance(setting, list) else [setting]
        if len(elements) > _MAX_ELEMENTS or any(isinstance(e, dict | list) for e in elements):
            raise ValueError(f"config.{name[:80]} is not a number, text or a short list of them")
    return config

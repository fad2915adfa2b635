"""Whether a model can compress images, from its file and without importing TensorFlow."""

from etils import epath

from components.base.errors import ConfigError
from components.model import model_file

# The likelihoods of 256 levels whose intervals `components.compression.mixture` computes.
_CODED_LIKELIHOODS = ("logistic_mixture",)
# The presets that train such models.
_PRESETS = ("lossless",)


def check(path: epath.Path) -> None:
    """Checks that images can be compressed with the model of a `.keras` file.

    Raises:
      ConfigError: they cannot; the message says why, and which preset trains another model.
      WorkError: the file is not a saved VAE of this project.
    """
    config = model_file.read(path).config
    # The defaults are those of files that are older than a setting.
    likelihood = config.get("likelihood", "bernoulli")
    if likelihood not in _CODED_LIKELIHOODS:
        raise ConfigError(
            f"{path.parent} cannot compress images without loss: its likelihood {likelihood} gives "
            f"no probabilities of 256 levels; train a model with --preset {' or '.join(_PRESETS)}"
        )

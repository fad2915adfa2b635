"""Whether images can be compressed with a model, which its file says without TensorFlow."""

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
    reason = None
    if likelihood not in _CODED_LIKELIHOODS:
        reason = f"its likelihood {likelihood} gives no probabilities of 256 levels"
    elif config.get("levels", 1) != 1:
        reason = f"it has {config['levels']} levels of latents, of which only one can be coded"
    elif config.get("classes", 0):
        reason = "it is conditioned on labels"
    if reason:
        raise ConfigError(
            f"{path.parent} cannot compress images without loss: {reason}; train a model with "
            f"--preset {' or '.join(_PRESETS)}"
        )

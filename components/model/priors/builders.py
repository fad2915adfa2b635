"""The priors by their settings, as a model builds them."""

from collections.abc import Callable

import tensorflow as tf

from components.model.architecture import Architecture
from components.model.distributions import Normal
from components.model.priors.flow import RealNVP
from components.model.priors.mixture import MixtureOfGaussians
from components.model.priors.prior import Prior
from components.model.priors.standard_normal import StandardNormal
from components.model.priors.vamp import VampPrior

# The posterior of images, which one prior is made of.
Posterior = Callable[[tf.Tensor], Normal]


def standard_normal(architecture: Architecture, posterior: Posterior) -> Prior:
    """N(0, I)."""
    del posterior
    return StandardNormal(architecture.latents, name="prior")


def real_nvp(architecture: Architecture, posterior: Posterior) -> Prior:
    """A flow of four couplings."""
    del posterior
    return RealNVP(architecture.latents, name="prior")


def mixture(architecture: Architecture, posterior: Posterior) -> Prior:
    """A mixture of normal distributions."""
    del posterior
    return MixtureOfGaussians(
        architecture.latents, components=architecture.prior_components, name="prior"
    )


def vamp(architecture: Architecture, posterior: Posterior) -> Prior:
    """A mixture of the posteriors of learned images."""
    return VampPrior(
        architecture.latents,
        components=architecture.prior_components,
        image_shape=architecture.image_shape,
        posterior=posterior,
        name="prior",
    )

"""Samples: images of latents that are drawn from the prior or from the aggregate posterior."""

from typing import TYPE_CHECKING

import numpy as np
from etils import epath

from components.base.errors import ConfigError
from components.model import model_file, samplers
from components.model.registry import MODEL_FILE
from pipeline.generate import figures
from pipeline.generate.config import AGGREGATE, AUTO, COMPONENTS, PRIOR
from pipeline.generate.task import GenerationContext
from pipeline.generate.writer import GeneratedImages

if TYPE_CHECKING:
    from components.model.vae import VAE


class SampleTask:
    """Samples of a distribution over latents.

    Args:
      context: settings, model and data to generate from.

    Raises:
      ConfigError: the distribution cannot be fitted, or a setting has no effect on it.
    """

    def __init__(self, context: GenerationContext):
        self._subjects = context
        self.sampler = _sampler(context)
        if self.sampler == PRIOR and context.config.components != COMPONENTS:
            raise ConfigError(
                "--components has no effect on the sampler prior; leave it out, or choose "
                f"--sampler {AGGREGATE}"
            )
        label = {} if context.label is None else {"label": context.label}
        self.config = {"sampler": self.sampler, **label}
        uses_examples = self.sampler == AGGREGATE or context.classes
        self.inputs = context.examples_input() if uses_examples else {}

    def load(self) -> None:
        """See `GenerationTask.load`; there is nothing to find."""

    def open(self, vae: "VAE") -> GeneratedImages:
        """See `GenerationTask.open`."""
        config, label = self._subjects.config, self._subjects.label
        sampler: samplers.Sampler
        if self.sampler == PRIOR:
            sampler = samplers.PriorSampler(vae, config.temperature)
        else:
            posteriors = self._subjects.training_set.posteriors(vae, "the sampler aggregate", label)
            sampler = samplers.AggregateSampler.fit(
                posteriors, components=config.components, temperature=config.temperature
            )
        labels = None
        if classes := self._subjects.classes:
            labels = np.arange(config.count) % classes if label is None else np.asarray(label)
        latents = samplers.draw_blocks(sampler, config.count, seed=config.seed, labels=labels)
        return self._subjects.images(vae, config.count, latents, labels)

    def draw(self, images: GeneratedImages, directory: epath.Path, subtitle: str) -> None:
        """See `GenerationTask.draw`."""
        source = "prior" if self.sampler == PRIOR else "aggregate posterior"
        figures.draw_samples(
            images,
            directory,
            by_class=images.labels is not None and self._subjects.label is None,
            title=f"Samples from the {source}",
            subtitle=subtitle,
        )


def _sampler(context: GenerationContext) -> str:
    """The requested sampler, or the default."""
    asked = context.config.sampler
    file = context.model.path / MODEL_FILE
    is_hierarchy = model_file.num_levels(file) > 1
    if asked == AUTO:
        # A trained prior fits the aggregate posterior itself, and the latents of all classes
        # together do not have the labels that are decoded.
        is_fixed = model_file.prior_name(file) == "standard_normal" and not is_hierarchy
        is_mixed = bool(context.classes) and context.label is None
        has_examples = context.training_set.dataset is not None
        return AGGREGATE if is_fixed and has_examples and not is_mixed else PRIOR
    if asked == AGGREGATE and is_hierarchy:
        raise ConfigError(
            f"{context.model.path} has a hierarchy of latents, which are too many for the sampler "
            "aggregate; choose --sampler prior"
        )
    if asked == AGGREGATE and context.classes and context.label is None:
        raise ConfigError(
            f"{context.model.path} is conditioned on classes, and the sampler aggregate draws "
            "images of one of them; choose it with --class, or --sampler prior for all"
        )
    if asked == AGGREGATE:
        context.training_set.require("the sampler aggregate")
    return asked

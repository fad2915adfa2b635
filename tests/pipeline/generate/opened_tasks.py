"""What the tests of generation tasks share."""

import numpy as np

from components.base.manifest import load_artifact
from components.model import vae
from components.model.registry import MODEL_FILE
from pipeline.generate.config import GenerateConfig
from pipeline.generate.task import GenerationContext
from pipeline.generate.training_set import TrainingSet


def context(directory, label=None, **fields) -> GenerationContext:
    """What images are generated with, by a published model."""
    model = load_artifact(directory, stage="train")
    return GenerationContext(GenerateConfig(**fields), model, TrainingSet.of(model, ""), label)


def opened(task, directory):
    """The latents of all images of a task, their labels, and the model of a directory."""
    task.load()
    model = vae.load(directory / MODEL_FILE).in_float32()
    images = task.open(model)
    latents = np.concatenate(list(images.latents))
    assert len(latents) == images.count
    return latents, images.labels, model

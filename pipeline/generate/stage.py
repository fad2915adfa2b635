"""The generate stage: new images of a trained model, with their latents and figures."""

from etils import epath

from components.base import artifacts, console, tensorflow_setup
from components.base.manifest import Artifact, load_artifact
from components.model import model_file
from components.model.registry import MODEL_FILE
from pipeline.generate import writer
from pipeline.generate.config import (
    INTERPOLATION,
    SAMPLES,
    TRAVERSAL,
    VARIATIONS,
    GenerateConfig,
)
from pipeline.generate.given_image import GivenImage
from pipeline.generate.given_tasks import InterpolationTask, TraversalTask, VariationTask
from pipeline.generate.sample_task import SampleTask
from pipeline.generate.task import GenerationContext, GenerationTask
from pipeline.generate.training_set import TrainingSet


def generate(
    config: GenerateConfig = GenerateConfig(),  # noqa: B008 - frozen
    *,
    model: epath.PathLike,
    output: epath.PathLike,
    class_name: str | None = None,
    near: str | None = None,
    interpolate: tuple[str, str] | None = None,
    traverse: bool = False,
    overwrite: bool = False,
    verify: bool = False,
) -> Artifact:
    """Generates images, unless they are up to date: samples, if nothing else is asked for.

    Args:
      config: the settings.
      model: directory of a trained model.
      output: directory to publish the images in.
      class_name: of a conditional model, the name of a class or the number of its label; None for
        all of them or, if an image is given, for its own.
      near: for variations, the path of an image file or the id of an example.
      interpolate: for images between two images, what `near` takes, twice.
      traverse: whether to vary one latent at a time.
      overwrite: whether to replace another or a damaged artifact in `output`, or unfinished work.
      verify: whether to read all files of an artifact that is up to date, to check their content.

    Raises:
      ConfigError: `model` is not an artifact of train, an image, an example or a class is not
        there, a setting has no effect, or `output` holds something else.
      WorkError: a file is damaged.
    """
    trained = load_artifact(model, stage="train")
    file = trained.verified(MODEL_FILE)
    training_set = TrainingSet.of(trained, config.training_examples)
    label = None
    if class_name is not None:
        label = training_set.label_of(class_name, model_file.num_classes(file))
    context = GenerationContext(config, trained, training_set, label)
    kind, task = _task(context, near=near, interpolate=interpolate, traverse=traverse)
    plan = artifacts.ArtifactPlan(
        stage="generate",
        directory=epath.Path(output),
        config={"kind": kind, **config.of(kind), **task.config},
        inputs={"model": trained.as_input(), **task.inputs},
    )
    if plan.is_up_to_date(overwrite=overwrite, verify=verify):
        console.say(f"generate: up to date ({output})")
        return load_artifact(output, stage="generate")
    task.load()
    with plan.publish(resume=True, overwrite=overwrite) as draft:
        tensorflow_setup.load()
        from components.model import vae

        images = task.open(vae.load(file).in_float32())
        writer.write(images, draft.path)
        task.draw(images, draft.path, subtitle=console.visible(trained.setting("preset", str)))
        draft.counts = {"images": images.count}
        draft.notes = list(trained.manifest.notes)
    console.say(f"generate: {console.counted(images.count, 'image')} in {output}")
    return load_artifact(output, stage="generate")


def _task(
    context: GenerationContext,
    *,
    near: str | None,
    interpolate: tuple[str, str] | None,
    traverse: bool,
) -> tuple[str, GenerationTask]:
    """The task that is asked for, and its key in `SETTINGS`."""
    if near is not None:
        return VARIATIONS, VariationTask(context, GivenImage("--near", near))
    if interpolate is not None:
        first, last = (GivenImage("--interpolate", text) for text in interpolate)
        return INTERPOLATION, InterpolationTask(context, (first, last))
    if traverse:
        return TRAVERSAL, TraversalTask(context)
    task = SampleTask(context)
    if context.config.sampler != task.sampler:
        console.say(f"generate: the sampler is {task.sampler}; --sampler chooses another")
    return SAMPLES, task

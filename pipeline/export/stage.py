"""The export stage: a trained model in formats that other programs run without this project."""

from etils import epath

from components.base import artifacts, console, local_files, tensorflow_setup
from components.base.manifest import Artifact, load_artifact
from components.data import training_examples
from components.data.prepared_dataset import PreparedDataset
from components.model.registry import MODEL_FILE
from pipeline.export import extra, model_card
from pipeline.export.config import SAVED_MODEL, ExportConfig


def export(
    config: ExportConfig,
    *,
    model: epath.PathLike,
    output: epath.PathLike,
    overwrite: bool = False,
    verify: bool = False,
) -> Artifact:
    """Exports a model, unless the export is up to date.

    Args:
      config: the settings.
      model: directory of a trained model.
      output: directory to publish the files in.
      overwrite: whether to replace another or a damaged artifact in `output`.
      verify: whether to read all files of an artifact that is up to date, to check their content.

    Raises:
      ConfigError: `model` is not an artifact of train, a package that a format needs is not
        installed, or `output` holds something else.
      WorkError: the model is damaged, or a file computes other results than the model.
    """
    trained = load_artifact(model, stage="train")
    plan = artifacts.ArtifactPlan(
        stage="export",
        directory=epath.Path(output),
        config=config.as_json(),
        inputs={"model": trained.as_input()},
        # Files of TensorFlow and Keras hold times and random identifiers.
        volatile_prefixes=(f"{SAVED_MODEL}/", "encoder.", "decoder."),
    )
    if plan.is_up_to_date(overwrite=overwrite, verify=verify):
        console.say(f"export: up to date ({output})")
        return load_artifact(output, stage="export")
    extra.check_installed(config.chosen_formats)
    dataset = training_examples.find(trained)
    if dataset is not None:
        _check_background(config, dataset)
    with plan.publish(overwrite=overwrite) as draft:
        tensorflow_setup.load()
        from components.model import vae
        from pipeline.export import writer

        trained_vae = vae.load(trained.verified(MODEL_FILE))
        card = model_card.render(trained, trained_vae.architecture, dataset)
        with local_files.directory_written_locally(draft.path) as directory:
            exported = writer.write(config, trained_vae, directory, card)
        draft.counts = {"differences": {each.name: each.difference for each in exported}}
        draft.notes = trained.manifest.notes
    console.show(writer.table(exported))
    console.say(f"export: done ({output})")
    return load_artifact(output, stage="export")


def _check_background(config: ExportConfig, dataset: PreparedDataset) -> None:
    """Warns if the dataset was prepared with another background."""
    prepared = dataset.artifact.manifest.config.get("background", "black")
    if prepared != config.background:
        console.warn(
            f"transparent pixels of encoded images become {config.background}, but {dataset.path} "
            f"was prepared with {prepared}; use --background {prepared}"
        )

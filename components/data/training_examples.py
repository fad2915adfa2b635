"""Finds the prepared dataset that a model was trained on."""

from etils import epath

from components.base import files
from components.base.errors import ConfigError, UserError
from components.base.manifest import Artifact
from components.data.prepared_dataset import PreparedDataset


def find(model: Artifact, directory: str = "") -> PreparedDataset | None:
    """The prepared dataset that a model was trained on.

    Args:
      model: the artifact of the train stage.
      directory: where the dataset is; "" for the path in the model's manifest.

    Returns:
      The dataset; None if it is no longer there.

    Raises:
      ConfigError: `directory` holds another dataset.
    """
    record = model.manifest.inputs.get("examples")
    if directory:
        dataset = PreparedDataset.open(directory)
        if record is None or dataset.artifact.fingerprint != record.fingerprint:
            raise ConfigError(
                f"{model.path} was trained on other examples than those in {directory}; pass the "
                "dataset that it was trained on, or leave out --training_examples"
            )
        return dataset
    # The manifest may come from a stranger: it must not make this program access the network.
    if record is None or record.path is None or files.is_remote(epath.Path(record.path)):
        return None
    try:
        dataset = PreparedDataset.open(model.path / record.path)
    except UserError:
        return None
    return dataset if dataset.artifact.fingerprint == record.fingerprint else None

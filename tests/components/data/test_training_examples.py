import shutil

import pytest

from components.base.errors import ConfigError
from components.base.manifest import load_artifact
from components.data import training_examples
from tests.manifests import edit_manifest


def test_the_training_set_is_found_where_the_models_manifest_says(model_dir, examples_dir):
    found = training_examples.find(load_artifact(model_dir, stage="train"))
    assert found.path.resolve() == examples_dir.resolve()


@pytest.mark.parametrize("path", ["../gone", "s3://bucket/examples", None])
def test_a_training_set_that_is_elsewhere_is_not_looked_for(model_dir, tmp_path, path):
    shutil.copytree(model_dir, tmp_path / "model")

    def move(manifest):
        manifest["inputs"]["examples"].pop("path")
        if path:
            manifest["inputs"]["examples"]["path"] = path

    edit_manifest(tmp_path / "model", move)
    model = load_artifact(tmp_path / "model", stage="train")
    assert training_examples.find(model) is None


def test_another_dataset_is_not_the_training_set(model_dir, examples_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "model")

    def change(manifest):
        manifest["inputs"]["examples"] = {"fingerprint": "0" * 64, "path": str(examples_dir)}

    edit_manifest(tmp_path / "model", change)
    model = load_artifact(tmp_path / "model", stage="train")
    assert training_examples.find(model) is None
    with pytest.raises(ConfigError, match="was trained on other examples than those in"):
        training_examples.find(model, str(examples_dir))

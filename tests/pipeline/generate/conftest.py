"""A tiny conditional model of the drawn garments, made once per session."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import tiny_train_config
from trainer import stage


@pytest.fixture(scope="session")
def conditional_dir(examples_dir, tmp_path_factory) -> Path:
    """A directory that the trainer published, of a model that is conditioned on the label."""
    directory = tmp_path_factory.mktemp("conditional") / "model"
    config = tiny_train_config(condition="label", epochs=1)
    stage.run("mlp", config, examples=examples_dir, output=directory)
    return directory


@pytest.fixture
def moved_model(model_dir, tmp_path) -> Path:
    """A copy of `model_dir` whose training examples are not where its manifest says."""
    shutil.copytree(model_dir, tmp_path / "a/b/c/model")
    return tmp_path / "a/b/c/model"

"""A trained model whose images can be compressed, and a compressed file."""

from pathlib import Path

import pytest

from pipeline.compress.compress import compress
from pipeline.compress.config import CompressConfig
from tests.conftest import tiny_train_config
from trainer import stage

BLOCKS = CompressConfig(block_images=40)


@pytest.fixture(scope="session")
def coded_model_dir(examples_dir, tmp_path_factory) -> Path:
    """A directory that the trainer published, of a likelihood of 256 levels."""
    directory = tmp_path_factory.mktemp("coded") / "model"
    config = tiny_train_config(likelihood="logistic_mixture", epochs=1, latents=2)
    stage.run("mlp", config, examples=examples_dir, output=directory)
    return directory


@pytest.fixture(scope="session")
def conditional_model_dir(examples_dir, tmp_path_factory) -> Path:
    """A directory that the trainer published, of such a model that is conditioned on labels."""
    directory = tmp_path_factory.mktemp("coded_conditional") / "model"
    config = tiny_train_config(
        likelihood="logistic_mixture", condition="label", epochs=1, latents=2
    )
    stage.run("mlp", config, examples=examples_dir, output=directory)
    return directory


@pytest.fixture(scope="session")
def vaez(examples_dir, coded_model_dir, tmp_path_factory) -> Path:
    """The 100 images of the test split, in three blocks."""
    path = tmp_path_factory.mktemp("compressed") / "test.vaez"
    compress(BLOCKS, model=coded_model_dir, pattern=f"{examples_dir}/*test*", output=path)
    return path

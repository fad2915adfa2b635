"""`--overwrite` replaces what a stage made before, and nothing else."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.base.errors import ConfigError
from pipeline.embed.stage import embed
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.stage import evaluate
from pipeline.prepare.stage import prepare
from tests.conftest import tiny_prepare_config, tiny_train_config
from trainer import stage


def digests(directory: Path) -> dict[str, str]:
    """The digest of every file below a directory."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def run(examples_dir, model_dir, tmp_path) -> Path:
    """A run with a model inside its prepared dataset."""
    shutil.copytree(examples_dir, tmp_path / "examples")
    shutil.copytree(model_dir, tmp_path / "examples" / "model")
    shutil.copytree(model_dir, tmp_path / "model")
    return tmp_path


def train(examples: Path, output: Path) -> None:
    config = tiny_train_config(epochs=1)
    stage.run("mlp", config, examples=examples, output=output, overwrite=True)


COMMANDS: dict[str, Callable[[Path], object]] = {
    "train into the examples": lambda run: train(run / "examples", run / "examples"),
    "train into a parent of the examples": lambda run: train(run / "examples", run),
    "evaluate into the model": lambda run: evaluate(
        EvaluateConfig(),
        examples=run / "examples",
        model=run / "model",
        output=run / "model",
        overwrite=True,
    ),
    "evaluate into the examples": lambda run: evaluate(
        EvaluateConfig(),
        examples=run / "examples",
        model=run / "model",
        output=run / "examples",
        overwrite=True,
    ),
    "embed into the model": lambda run: embed(
        model=run / "model",
        pattern=f"{run}/examples/*test.tfrecord*",
        output=run / "model",
        overwrite=True,
    ),
    "embed into the examples": lambda run: embed(
        model=run / "model",
        pattern=f"{run}/examples/*test.tfrecord*",
        output=run / "examples",
        overwrite=True,
    ),
    "prepare into a model": lambda run: prepare(
        tiny_prepare_config(), output=run / "model", overwrite=True
    ),
    "prepare into examples that hold a model": lambda run: prepare(
        tiny_prepare_config(synthetic_seed=1), output=run / "examples", overwrite=True
    ),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_another_stages_work_and_the_inputs_stay_as_they_are(command, run):
    before = digests(run)
    with pytest.raises(ConfigError) as caught:
        command(run)
    assert "\n" not in str(caught.value)
    assert digests(run) == before


@pytest.mark.parametrize("output", ["elsewhere/output", "elsewhere", "."])
def test_prepare_does_not_write_where_a_link_in_its_dataset_leads(tmp_path, output):
    for folder in ("images/cat", "elsewhere", "elsewhere/output"):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(20):
            pixels = np.full((8, 8), number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
    (tmp_path / "images" / "dog").symlink_to("../elsewhere")
    before = digests(tmp_path)
    with pytest.raises(ConfigError, match="choose an output directory outside the dataset"):
        prepare(
            tiny_prepare_config(dataset=str(tmp_path / "images")),
            output=tmp_path / output,
            overwrite=True,
        )
    assert digests(tmp_path) == before


@pytest.mark.parametrize("output", ["output", ".", "cat/output"])
def test_prepare_does_not_write_into_the_folder_that_it_reads(tmp_path, output):
    for number in range(20):
        path = tmp_path / "images" / "cat" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(path)
    before = digests(tmp_path)
    with pytest.raises(ConfigError, match="choose an output directory outside the dataset"):
        prepare(
            tiny_prepare_config(dataset=str(tmp_path / "images")),
            output=tmp_path / "images" / output,
            overwrite=True,
        )
    assert digests(tmp_path) == before

"""Long checks on the complete, real Fashion-MNIST: `make slow`."""

import json
import subprocess
import sys

import pytest

from pipeline.prepare.config import PrepareConfig
from pipeline.prepare.stage import prepare
from tests.conftest import ROOT, module_command
from trainer import stage
from trainer.config import load_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def all_examples(fashion_mnist_data_dir, tmp_path_factory):
    """All 70,000 images, prepared without a validation split."""
    directory = tmp_path_factory.mktemp("fashion_mnist") / "examples"
    config = PrepareConfig(
        dataset="fashion_mnist", data_dir=fashion_mnist_data_dir, validation_fraction=0
    )
    return prepare(config, output=directory)


def test_all_images_are_kept(all_examples):
    counts = all_examples.artifact.manifest.counts
    assert (counts["kept"], counts["quarantined"]) == (70_000, 0)
    assert counts["examples_by_label"] == {"train": [6000] * 10, "test": [1000] * 10}


# Runs a command, and prints the peak memory of its largest process. In a process of its own, since
# the figure covers all children so far, and begins with the peak of the process that starts them.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_prepare_stays_within_its_memory_limit(fashion_mnist_data_dir, tmp_path):
    command = module_command(
        "pipeline", "prepare", "--dataset", "fashion_mnist",
        "--data_dir", fashion_mnist_data_dir, "--output", tmp_path / "examples",
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # In KiB; the documented limit is 1.5 GB.
    assert 0 < int(done.stdout) < 1.5e9 / 1024


@pytest.mark.timeout(1200)
def test_mlp_reaches_the_train_loss_of_the_original(all_examples, tmp_path):
    """The original's train loss after 50 epochs is 262.08 nats."""
    stage.run("mlp", load_config("mlp"), examples=all_examples.path, output=tmp_path / "model")
    rows = [json.loads(row) for row in (tmp_path / "model/metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 50
    assert rows[-1]["train"]["loss"] <= 262.1

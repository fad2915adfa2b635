import os
import shutil
import signal
import subprocess

import pytest

from components.base.errors import ConfigError, WorkError
from components.compression.archive import Archive
from pipeline.compress.compress import compress
from pipeline.compress.config import CompressConfig
from tests.conftest import ROOT, module_command
from tests.pipeline.compress.conftest import BLOCKS


def test_the_file_names_the_model_and_has_blocks_of_the_images(vaez, example_set):
    header = Archive(vaez).header
    assert [block.images for block in header.blocks] == [40, 40, 20]
    assert header.image_shape == example_set.image_shape
    assert vaez.stat().st_size < example_set.read("test").images.nbytes
    assert [path.name for path in vaez.parent.iterdir()] == [vaez.name]


def test_a_file_is_up_to_date_or_another_one(vaez, examples_dir, coded_model_dir, tmp_path, capsys):
    target = tmp_path / "x.vaez"
    shutil.copy(vaez, target)
    arguments = {"model": coded_model_dir, "pattern": f"{examples_dir}/*test*", "output": target}
    compress(BLOCKS, **arguments, verify=True)
    assert "compress: up to date" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="holds other compressed images"):
        compress(CompressConfig(), **arguments)
    target.write_bytes(vaez.read_bytes()[:-1])
    with pytest.raises(WorkError, match="its header says"):
        compress(BLOCKS, **arguments)
    target.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="is not a file of compressed images of this version"):
        compress(BLOCKS, **arguments, overwrite=True)
    assert target.read_bytes() == b"mine"


def test_an_estimate_writes_nothing(vaez, examples_dir, coded_model_dir, tmp_path, capsys):
    compress(
        BLOCKS,
        model=coded_model_dir,
        pattern=f"{examples_dir}/*test*",
        output=tmp_path / "x.vaez",
        only_estimate=True,
    )
    assert "100 images will take about" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_likelihood_is_refused(examples_dir, model_dir, tmp_path):
    with pytest.raises(ConfigError, match="cannot compress images without loss"):
        compress(model=model_dir, pattern=str(examples_dir), output=tmp_path / "x.vaez")


def test_a_killed_command_goes_on_with_the_blocks_that_are_missing(
    vaez, examples_dir, coded_model_dir, tmp_path, cli
):
    target = tmp_path / "x.vaez"
    arguments = ["compress", "--model", coded_model_dir, "--input", f"{examples_dir}/*test*"]
    arguments += ["--output", target, "--block_images", 40]
    process = subprocess.Popen(module_command("pipeline", *arguments), cwd=ROOT)
    draft = tmp_path / "x.vaez.draft"
    while not list(draft.glob("block-??????")):
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in draft.glob("block-??????")}
    done = cli("pipeline", *arguments)
    assert done.returncode == 0, done.stderr
    assert len(kept) >= 1
    assert target.read_bytes() == vaez.read_bytes()
    assert not draft.exists()

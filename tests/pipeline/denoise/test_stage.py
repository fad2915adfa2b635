import json
import shutil

import numpy as np
import pytest
from PIL import Image

from components.base.errors import ConfigError, WorkError
from pipeline.apply import engine
from pipeline.denoise.config import DenoiseConfig
from pipeline.denoise.stage import denoise
from pipeline.prepare.stage import prepare
from tests.conftest import tiny_prepare_config, tiny_train_config
from trainer import stage as trainer_stage

ONE = DenoiseConfig(samples=2)
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    """A denoiser of color images of 8 x 6 pixels, and a folder of such images."""
    directory = tmp_path_factory.mktemp("colors")
    for index in range(30):
        write(directory / f"train/{'ab'[index % 2]}/{index}.png", (6, 8, 3))
    prepare(
        tiny_prepare_config(dataset=str(directory / "train"), image_size="6x8"),
        output=directory / "examples",
    )
    config = tiny_train_config(corruption="gaussian:0.1-0.3", epochs=1, likelihood="gaussian")
    trainer_stage.run("mlp", config, examples=directory / "examples", output=directory / "model")
    return directory


def write(path, shape) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_images_come_out_in_the_form_that_they_came_in(colors, tmp_path, capsys):
    noisy = {"a/x.png": (6, 8, 3), "b/y.png": (6, 8, 3), "b/z.bmp": (6, 8, 3)}
    for name, shape in noisy.items():
        write(tmp_path / "noisy" / name, shape)
    write(tmp_path / "noisy/a/other size.png", (8, 6, 3))
    (tmp_path / "noisy/b/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    arguments = {"model": colors / "model", "pattern": str(tmp_path / "noisy")}
    artifact = denoise(ONE, **arguments, output=tmp_path / "out", uncertainty=True)
    names = {"a/x.png", "b/y.png", "b/z.bmp.png"}
    assert set(artifact.manifest.outputs) == {
        *(f"{folder}/{name}" for folder in ("images", "uncertainty") for name in names),
        "quarantine/quarantine.jsonl",
    }
    for name in names:
        with Image.open(tmp_path / "out/images" / name) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (8, 6))
    lines = (tmp_path / "out/quarantine/quarantine.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in lines} == {"a/other size.png", "b/broken.png"}
    assert artifact.manifest.counts == {"images": 3, "inputs": 5, "quarantined": 2}
    assert artifact.manifest.notes == []
    messages = capsys.readouterr().err
    assert "2 inputs in quarantine" in messages
    assert "embed" not in messages
    denoise(ONE, **arguments, output=tmp_path / "out", uncertainty=True)
    assert "denoise: up to date" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="samples is 2, not the requested 3"):
        denoise(DenoiseConfig(samples=3), **arguments, output=tmp_path / "out", uncertainty=True)


def test_images_are_not_scaled(colors, tmp_path):
    write(tmp_path / "noisy/x.png", (9, 9))
    with pytest.raises(ConfigError, match=r"are 9x9x1 .*trained on 6x8x3, and denoise does not sc"):
        denoise(ONE, model=colors / "model", pattern=str(tmp_path / "noisy"), output=tmp_path / "o")


def test_a_folder_of_images_of_another_size_is_taken_when_it_has_been_mended(colors, tmp_path):
    write(tmp_path / "noisy/a.png", (7, 8, 3))
    arguments = {"model": colors / "model", "pattern": str(tmp_path / "noisy")}
    with pytest.raises(ConfigError, match="pass images of that shape"):
        denoise(ONE, output=tmp_path / "out", **arguments)
    write(tmp_path / "noisy/a.png", (6, 8, 3))
    artifact = denoise(ONE, output=tmp_path / "out", **arguments)
    assert artifact.manifest.counts["images"] == 1


def test_a_model_of_clean_images_alone_is_said_to_reconstruct(
    examples_dir, example_set, model_dir, tmp_path, capsys
):
    pattern = f"{examples_dir}/*test*"
    artifact = denoise(ONE, model=model_dir, pattern=pattern, output=tmp_path / "out")
    assert artifact.manifest.counts == {"images": 100}
    (note,) = artifact.manifest.notes
    assert "was trained on clean images alone" in note
    assert note in capsys.readouterr().err


def test_an_interrupted_command_continues(examples_dir, model_dir, tmp_path, monkeypatch):
    """The second run keeps the shard that the first one finished, and makes the same files."""
    arguments = {"model": model_dir, "pattern": f"{examples_dir}/*t*.tfrecord-*"}
    whole = denoise(ONE, **arguments, output=tmp_path / "whole")
    work = engine.apply_to_shard
    done = []

    def interrupt(*task):
        if done:
            raise WorkError("interrupted")
        done.append(task)
        return work(*task)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "apply_to_shard", interrupt)
        with pytest.raises(WorkError, match="interrupted"):
            denoise(ONE, **arguments, output=tmp_path / "out")
    draft = tmp_path / "out.draft"
    (mark,) = draft.glob(f"*{engine.MARK_SUFFIX}")
    finished = next(iter(json.loads(mark.read_text())["files"]))
    inode = (draft / finished).stat().st_ino
    resumed = denoise(ONE, **arguments, output=tmp_path / "out")
    assert (tmp_path / "out" / finished).stat().st_ino == inode
    assert resumed.manifest.outputs == whole.manifest.outputs


def test_two_images_of_one_name_are_an_error(examples_dir, model_dir, tmp_path):
    (shard,) = examples_dir.glob("*test.tfrecord-*")
    for name in ("one.tfrecord-00000-of-00001", "two.tfrecord-00000-of-00001"):
        shutil.copy(shard, tmp_path / name)
    with pytest.raises(WorkError, match="200 images have only 100 different names"):
        denoise(ONE, model=model_dir, pattern=f"{tmp_path}/*.tfrecord-*", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_conditional_model_is_refused(examples_dir, tmp_path):
    config = tiny_train_config(condition="label", epochs=1)
    trainer_stage.run("mlp", config, examples=examples_dir, output=tmp_path / "model")
    with pytest.raises(ConfigError, match="is conditioned on labels"):
        denoise(ONE, model=tmp_path / "model", pattern=str(examples_dir), output=tmp_path / "out")


def test_the_model_is_not_an_output_of_another_stage(examples_dir, tmp_path):
    with pytest.raises(ConfigError, match="train"):
        denoise(ONE, model=examples_dir, pattern=str(examples_dir), output=tmp_path / "out")

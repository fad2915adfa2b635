import numpy as np
import pyarrow.parquet as pq
import pytest

from components.base.errors import ConfigError
from pipeline.generate import stage, writer
from pipeline.generate.config import GenerateConfig
from pipeline.generate.stage import generate
from tests.pipeline.generate.test_writer import contents


def test_samples_are_published_and_the_same_seed_gives_the_same_bytes(model_dir, tmp_path, capsys):
    config = GenerateConfig(count=30, seed=5)
    artifact = generate(config, model=model_dir, output=tmp_path / "a")
    assert artifact.manifest.counts == {"images": 30}
    names = {f"images/{number:06d}.png" for number in range(30)}
    assert set(artifact.manifest.outputs) == {*names, "latents.parquet", "contact_sheet.png"}
    assert "the sampler is aggregate" in capsys.readouterr().err
    again = generate(config, model=model_dir, output=tmp_path / "b")
    assert again.manifest.outputs == artifact.manifest.outputs
    other = generate(GenerateConfig(count=30, seed=6), model=model_dir, output=tmp_path / "c")
    assert other.output("latents.parquet") != artifact.output("latents.parquet")
    generate(config, model=model_dir, output=tmp_path / "a")
    assert "generate: up to date" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="count is 30, not the requested 31"):
        generate(GenerateConfig(count=31, seed=5), model=model_dir, output=tmp_path / "a")


def test_an_interrupted_command_continues_to_the_same_files(model_dir, tmp_path, monkeypatch):
    config = GenerateConfig(count=300, sampler="prior")
    whole = generate(config, model=model_dir, output=tmp_path / "whole")
    write_block, blocks = writer._write_block, []

    def fail_in_second_block(*arguments):
        blocks.append(arguments)
        if len(blocks) == 2:
            raise KeyboardInterrupt
        write_block(*arguments)

    monkeypatch.setattr(writer, "_write_block", fail_in_second_block)
    with pytest.raises(KeyboardInterrupt):
        generate(config, model=model_dir, output=tmp_path / "out")
    first = tmp_path / "out.draft/images/000000.png"
    kept = first.stat().st_mtime_ns
    monkeypatch.undo()
    resumed = generate(config, model=model_dir, output=tmp_path / "out")
    assert (tmp_path / "out/images/000000.png").stat().st_mtime_ns == kept
    assert resumed.manifest.outputs == whole.manifest.outputs


def test_a_class_is_generated_by_its_name(conditional_dir, example_set, tmp_path):
    name = example_set.class_names[2]
    generate(
        GenerateConfig(count=4), model=conditional_dir, output=tmp_path / "out", class_name=name
    )
    table = pq.read_table(tmp_path / "out/latents.parquet")
    assert table["label_name"].to_pylist() == [name] * 4


@pytest.mark.parametrize(
    ("options", "figures"),
    [
        ({"near": 0}, {"variations.png"}),
        ({"interpolate": (0, 1)}, {"interpolation.png", "interpolation.webp"}),
        ({"traverse": True}, {"traversal.png", "traversal.webp"}),
    ],
    ids=["near", "interpolate", "traverse"],
)
def test_each_kind_has_its_figures(model_dir, example_set, tmp_path, options, figures):
    ids = example_set.read("test").ids
    if "near" in options:
        options = {"near": ids[0]}
    elif "interpolate" in options:
        options = {"interpolate": (ids[0], ids[1])}
    artifact = generate(model=model_dir, output=tmp_path / "out", **options)
    others = {name for name in artifact.manifest.outputs if not name.startswith("images/")}
    assert others == {"latents.parquet", *figures}
    assert set(artifact.manifest.inputs) == {"model", "training_examples"}
    count = artifact.manifest.counts["images"]
    latents = np.array(pq.read_table(tmp_path / "out/latents.parquet")["z"].to_pylist())
    assert latents.shape == (count, 2)
    before = contents(tmp_path / "out")
    generate(model=model_dir, output=tmp_path / "out", **options)
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_name": "bag"}, "is not conditioned on classes"),
        ({"near": "none"}, "--near 'none' is neither an image file nor the id"),
        ({"interpolate": ("none", "x")}, "--interpolate 'none' is neither"),
        (
            {"traverse": True, "config": GenerateConfig(seed=1)},
            "--seed has no effect on --traverse",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(model_dir, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message) as raised:
        generate(model=model_dir, output=tmp_path / "out", **options)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_class_is_explained(conditional_dir, tmp_path):
    with pytest.raises(ConfigError, match="has no class 'no'"):
        stage.generate(model=conditional_dir, output=tmp_path / "out", class_name="no")

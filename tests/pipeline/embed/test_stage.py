import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from etils import epath

from components.base.errors import ConfigError, WorkError
from components.base.manifest import load_artifact
from components.data import codec
from components.model import embeddings, vae
from components.model.encode import encode
from components.model.registry import MODEL_FILE
from pipeline.apply import engine
from pipeline.apply.shard_task import MARK_SUFFIX
from pipeline.embed import stage as embed_module
from pipeline.embed.config import EmbedConfig
from pipeline.embed.stage import embed
from tests.manifests import edit_manifest
from tests.pipeline.apply.test_inputs import write_photos

STEM = "synthetic_garments-test-00000-of-00001"


def test_every_shard_has_a_parquet_file(examples_dir, example_set, model_dir, tmp_path):
    pattern = f"{examples_dir}/*.tfrecord-*"
    artifact = embed(model=model_dir, pattern=pattern, output=tmp_path / "out")
    files = [name for name in artifact.manifest.outputs if name.endswith(".parquet")]
    assert len(artifact.manifest.outputs) == len(files) == 3
    assert artifact.manifest.counts["rows"] == example_set.counts.kept
    block = example_set.read("test")
    path = tmp_path / "out/synthetic_garments-test-00000-of-00001.parquet"
    read = embeddings.read(path)
    means, log_variances = encode(vae.load(model_dir / "model.keras"), block.images)
    assert list(read.ids) == block.ids
    np.testing.assert_array_equal(read.labels, block.labels)
    np.testing.assert_allclose(read.means, means, atol=1e-6)
    np.testing.assert_allclose(read.log_variances, log_variances, atol=1e-6)
    assert pq.read_schema(path).names == list(EmbedConfig().column_names)
    scores = pq.read_table(path)["outlier_score"].to_numpy()
    assert abs(np.median(scores)) < 1


def test_embeddings_are_up_to_date_the_second_time(examples_dir, model_dir, tmp_path, capsys):
    for _ in range(2):
        pattern = f"{examples_dir}/*test*"
        embed(model=model_dir, pattern=pattern, output=tmp_path / "out")
    messages = capsys.readouterr().err
    assert "embed: embedded 1 of 1 shards, 100 images\n" in messages
    assert "embed: up to date" in messages


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (EmbedConfig(columns="id"), "columns is"),
        (EmbedConfig(format="npy"), "format is parquet, not the requested npy"),
    ],
)
def test_other_settings_make_another_artifact(examples_dir, model_dir, tmp_path, config, message):
    arguments = {
        "model": model_dir,
        "pattern": f"{examples_dir}/*test*",
        "output": tmp_path / "out",
    }
    embed(**arguments)
    with pytest.raises(ConfigError, match=message):
        embed(config, **arguments)
    embed(config, **arguments, overwrite=True)


def test_npy_files_hold_the_embeddings(examples_dir, example_set, model_dir, tmp_path):
    config = EmbedConfig(columns="id,mean", format="npy")
    embed(config, model=model_dir, pattern=f"{examples_dir}/*test*", output=tmp_path / "out")
    stem = tmp_path / "out" / STEM
    assert np.load(f"{stem}.mean.npy").shape == (100, 2)
    lines = (tmp_path / f"out/{STEM}.jsonl").read_text().splitlines()
    ids = [json.loads(line)["id"] for line in lines]
    assert ids == example_set.read("test").ids


@pytest.fixture
def interrupted(examples_dir, model_dir, tmp_path, monkeypatch):
    """The arguments of work of which the first of three shards is done."""
    arguments = {"model": model_dir, "pattern": str(examples_dir), "output": tmp_path / "out"}
    done = []
    work = engine.apply_to_shard

    def interrupt(*task):
        if done:
            raise WorkError("interrupted")
        done.append(task)
        return work(*task)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "apply_to_shard", interrupt)
        with pytest.raises(WorkError, match="interrupted"):
            embed(**arguments)
    assert len(list((tmp_path / "out.draft").glob(f"*{MARK_SUFFIX}"))) == 1
    return arguments


def test_a_second_call_does_what_is_missing(interrupted, tmp_path, capsys):
    (finished,) = (tmp_path / "out.draft").glob("*.parquet")
    inode = finished.stat().st_ino
    embed(**interrupted)
    assert (tmp_path / "out" / finished.name).stat().st_ino == inode
    assert "embedded 3 of 3 shards, 700 images" in capsys.readouterr().err
    embed(**interrupted | {"output": tmp_path / "whole"})
    for path in (tmp_path / "whole").glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_work_of_another_model_or_input_is_refused_by_name(
    interrupted, examples_dir, model_dir, tmp_path
):
    shutil.copytree(model_dir, tmp_path / "model")
    edit_manifest(tmp_path / "model", lambda manifest: manifest["config"].update(seed=7))
    message = "out.draft holds a different, unfinished artifact: input {}"
    with pytest.raises(ConfigError, match=message.format("model is")):
        embed(**interrupted | {"model": tmp_path / "model"})
    shutil.copytree(examples_dir, tmp_path / "examples")
    (shard,) = (tmp_path / "examples").glob("*test.tfrecord-*")

    def change(manifest):
        manifest["outputs"][shard.name]["sha256"] = "0" * 64

    edit_manifest(tmp_path / "examples", change)
    with pytest.raises(ConfigError, match=message.format("shards is")):
        embed(**interrupted | {"pattern": str(tmp_path / "examples")})


def test_a_damaged_shard_publishes_nothing(examples_dir, example_set, model_dir, tmp_path):
    shutil.copytree(examples_dir, tmp_path / "examples")
    (shard,) = (tmp_path / "examples").glob("*test.tfrecord-*")
    batch = example_set.read("test")
    batch.images[3] ^= 1
    shard.write_bytes(codec.encode(batch))
    with pytest.raises(WorkError, match=rf"{shard} is damaged or belongs to another run"):
        embed(model=model_dir, pattern=str(shard), output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_shard_that_was_truncated_between_records_is_an_error(examples_dir, model_dir, tmp_path):
    shutil.copytree(examples_dir, tmp_path / "examples")
    (shard,) = (tmp_path / "examples").glob("*test.tfrecord-*")
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2])
    with pytest.raises(WorkError, match="holds 50 records, but the manifest lists 100"):
        embed(model=model_dir, pattern=f"{tmp_path}/examples/*test*", output=tmp_path / "out")


def test_a_damaged_model_is_an_error(examples_dir, model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "model")
    data = bytearray((tmp_path / "model/model.keras").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "model/model.keras").write_bytes(data)
    with pytest.raises(WorkError, match=r"model.keras is damaged"):
        embed(model=tmp_path / "model", pattern=f"{examples_dir}/*", output=tmp_path / "out")


def test_a_model_that_is_not_published_is_refused(examples_dir, model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "model.draft")
    with pytest.raises(ConfigError, match=r"model\.draft is not a finished artifact"):
        embed(model=tmp_path / "model.draft", pattern=str(examples_dir), output=tmp_path / "out")


def test_a_source_is_embedded_and_what_cannot_be_read_is_in_quarantine(model_dir, tmp_path, capsys):
    write_photos(tmp_path / "photos")
    for _ in range(2):
        artifact = embed(model=model_dir, pattern=str(tmp_path / "photos"), output=tmp_path / "out")
    outputs = ["photos-test-00000-of-00001.parquet", "quarantine/quarantine.jsonl"]
    assert sorted(artifact.manifest.outputs) == outputs
    assert artifact.manifest.counts == {
        "rows": 30,
        "shards": {"photos-test-00000-of-00001": 30},
        "inputs": 32,
        "quarantined": 2,
    }
    rows = list(map(json.loads, (tmp_path / "out" / outputs[1]).read_text().splitlines()))
    assert [row["id"] for row in rows] == ["test/a/bad.png", "validation/a/bad.png"]
    assert {row["reason"] for row in rows} == {"wrong_type"}
    assert set(pq.read_table(tmp_path / "out" / outputs[0])["label_name"].to_pylist()) == {"a", "b"}
    messages = capsys.readouterr().err
    assert "2 inputs in quarantine, which have no embedding" in messages
    assert "embed: up to date" in messages


def test_without_the_training_set_scores_are_empty_and_the_reason_is_said(
    examples_dir, model_dir, tmp_path, capsys
):
    shutil.copytree(model_dir, tmp_path / "elsewhere/model")
    arguments = {"model": tmp_path / "elsewhere/model", "pattern": f"{examples_dir}/*test*"}
    artifact = embed(**arguments, output=tmp_path / "out")
    assert "warning: the column outlier_score is empty" in capsys.readouterr().err
    assert "--training_examples" in artifact.manifest.notes[0]
    (file,) = (tmp_path / "out").glob("*.parquet")
    assert pq.read_table(file)["outlier_score"].null_count == 100
    config = EmbedConfig(training_examples=str(examples_dir))
    artifact = embed(config, **arguments, output=tmp_path / "scored")
    assert artifact.manifest.notes == []
    assert pq.read_table(tmp_path / "scored" / file.name)["outlier_score"].null_count == 0


def test_labels_of_other_classes_have_no_scores_in_a_conditional_model(
    example_set, model_dir, monkeypatch
):
    monkeypatch.setattr(embed_module.model_file, "num_classes", lambda path: 3)
    model = load_artifact(model_dir, stage="train")
    images = embed_module.inputs.PreparedShards(
        [epath.Path(example_set.path) / example_set.shards["test"][0].file], model, (28, 28, 1)
    ).open(epath.Path("unused"), [])
    with pytest.raises(ConfigError, match=r"labels of 3 classes, but the input has 10, .*rate"):
        embed_module._check_classes(model, images, ("id", "rate"))
    embed_module._check_classes(model, images, ("id", "mean"))


def test_rows_that_the_ledger_does_not_count_are_not_published(
    examples_dir, model_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(engine, "apply", lambda *_, **__: 1)
    with pytest.raises(WorkError, match=r"there are 1 rows, but the ledger .* counts 700 examples"):
        embed(
            EmbedConfig(columns="id"),
            model=model_dir,
            pattern=str(examples_dir),
            output=tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_an_error(examples_dir, model_dir, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        embed(model=model_dir, pattern=str(examples_dir), output=tmp_path / "file/out")


def test_a_directory_may_have_wildcards_in_its_name(examples_dir, model_dir, tmp_path, capsys):
    folder = tmp_path / "run[1]"
    shutil.copytree(examples_dir, folder / "examples")
    embed(model=model_dir, pattern=f"{folder}/examples/*test*", output=folder / "out")
    assert "embed: embedded 1 of 1 shards" in capsys.readouterr().err


def test_the_digest_in_the_tables_is_that_of_the_model(examples_dir, model_dir, tmp_path):
    embed(
        EmbedConfig(columns="id"),
        model=model_dir,
        pattern=f"{examples_dir}/*test*",
        output=tmp_path / "out",
    )
    (file,) = (tmp_path / "out").glob("*.parquet")
    digest = load_artifact(model_dir, stage="train").output(MODEL_FILE).sha256
    assert digest.encode() in pq.read_schema(file).metadata[b"vae_pipeline"]

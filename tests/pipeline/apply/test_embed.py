import shutil

import numpy as np
import pytest

from components.base.errors import ConfigError, WorkError
from components.base.manifest import load_artifact
from components.model import embeddings, vae
from components.model.encode import encode
from pipeline.apply.embed import EmbedTask, embed, embed_shard, embed_shards


def test_every_shard_has_a_parquet_file(examples_dir, example_set, model_dir, tmp_path):
    pattern = f"{examples_dir}/*.tfrecord-*"
    artifact = embed(model=model_dir, pattern=pattern, output=tmp_path / "out")
    files = [name for name in artifact.manifest["outputs"] if name.endswith(".parquet")]
    assert len(files) == 3
    block = example_set.read("test")
    read = embeddings.read(tmp_path / "out/synthetic_garments-test-00000-of-00001.parquet")
    means, log_variances = encode(vae.load(model_dir / "model.keras"), block.images)
    assert list(read.ids) == block.ids
    np.testing.assert_array_equal(read.labels, block.labels)
    np.testing.assert_allclose(read.means, means, atol=1e-6)
    np.testing.assert_allclose(read.log_variances, log_variances, atol=1e-6)


def test_embeddings_are_up_to_date_the_second_time(examples_dir, model_dir, tmp_path, capsys):
    for _ in range(2):
        pattern = f"{examples_dir}/*test*"
        embed(model=model_dir, pattern=pattern, output=tmp_path / "out")
    messages = capsys.readouterr().err
    assert "embed: embedded 1 of 1 shards\n" in messages
    assert "embed: up to date" in messages


def test_a_pattern_without_files_is_an_error(model_dir, tmp_path):
    with pytest.raises(ConfigError, match="no TFRecord file matches --input"):
        embed(model=model_dir, pattern=f"{tmp_path}/none*", output=tmp_path / "out")


def test_a_damaged_shard_publishes_nothing(examples_dir, model_dir, tmp_path):
    (shard,) = examples_dir.glob("*test.tfrecord-*")
    data = shard.read_bytes()
    (tmp_path / shard.name).write_bytes(data[: len(data) // 2 - 1])
    with pytest.raises(WorkError, match=rf"record 49 of \S*{shard.name} is truncated"):
        embed(model=model_dir, pattern=f"{tmp_path}/*", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_shard_that_was_truncated_between_records_is_an_error(examples_dir, model_dir, tmp_path):
    shutil.copytree(examples_dir, tmp_path / "examples")
    (shard,) = (tmp_path / "examples").glob("*test.tfrecord-*")
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2])
    with pytest.raises(WorkError, match="its manifest says"):
        embed(model=model_dir, pattern=f"{tmp_path}/examples/*test*", output=tmp_path / "out")


def test_two_files_of_one_name_are_an_error(examples_dir, model_dir, tmp_path):
    for folder in "ab":
        shutil.copytree(examples_dir, tmp_path / folder)
    with pytest.raises(ConfigError, match="matches several files named synthetic_garments-test"):
        embed(model=model_dir, pattern=f"{tmp_path}/[ab]/*test*", output=tmp_path / "out")


def test_a_damaged_model_is_an_error(examples_dir, model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "model")
    data = bytearray((tmp_path / "model/model.keras").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "model/model.keras").write_bytes(data)
    with pytest.raises(WorkError, match=r"model.keras is damaged"):
        embed(model=tmp_path / "model", pattern=f"{examples_dir}/*", output=tmp_path / "out")


def test_a_shard_without_examples_is_an_error(model_dir, tmp_path):
    (tmp_path / "empty.tfrecord").touch()
    task = EmbedTask(str(tmp_path / "empty.tfrecord"), str(tmp_path / "empty.parquet"))
    with pytest.raises(WorkError, match=r"empty.tfrecord holds no examples"):
        embed_shards([task], model=load_artifact(model_dir, stage="train"))


def test_a_task_returns_the_number_of_examples(example_set, model_dir, tmp_path):
    model = load_artifact(model_dir, stage="train")
    for split in example_set.splits:
        for shard in example_set.shards[split]:
            task = EmbedTask(str(example_set.path / shard.file), str(tmp_path / f"{split}.parquet"))
            arguments = (str(model_dir / "model.keras"), model.fingerprint)
            assert embed_shard(task, *arguments) == {"embedded": shard.examples}
        assert list(embeddings.read(tmp_path / f"{split}.parquet").ids) == (
            example_set.read(split).ids
        )

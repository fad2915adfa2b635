import gzip
import hashlib
import shutil
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.base.errors import ConfigError, WorkError
from components.base.manifest import load_artifact
from components.data import codec
from components.model import embeddings, vae
from components.model.encode import encode
from pipeline.apply.embed import EmbedTask, embed, embed_shard, embed_shards
from tests.conftest import tiny_prepare_config


def test_every_shard_has_a_parquet_file(examples_dir, example_set, model_dir, tmp_path):
    pattern = f"{examples_dir}/*.tfrecord-*"
    artifact = embed(model=model_dir, pattern=pattern, output=tmp_path / "out")
    files = [name for name in artifact.manifest.outputs if name.endswith(".parquet")]
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


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_directory_stands_for_all_of_its_shards(examples_dir, model_dir, tmp_path, slash):
    artifact = embed(model=model_dir, pattern=f"{examples_dir}{slash}", output=tmp_path / "out")
    shards = sorted(path.name for path in examples_dir.glob("*.tfrecord-*"))
    assert artifact.manifest.config == {"files": shards}
    # The pattern of all its shards is the same input.
    again = embed(model=model_dir, pattern=f"{examples_dir}/*", output=tmp_path / "out")
    assert again.fingerprint == artifact.fingerprint


@pytest.mark.parametrize(
    ("pattern", "advice"),
    [
        ("run", r"did you mean --input \S*/run/examples\?"),
        ("photos", "pass the directory of a prepared dataset; `python -m pipeline prepare` makes"),
        ("photos/*.png", "`python -m pipeline prepare` makes one of images"),
        ("none*", "pass the directory of a prepared dataset, or a pattern in quotes"),
    ],
)
def test_an_input_without_tfrecord_files_is_an_error_with_advice(
    examples_dir, model_dir, tmp_path, pattern, advice
):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.png").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/examples").symlink_to(examples_dir)
    (tmp_path / "run/model").symlink_to(model_dir)
    with pytest.raises(ConfigError, match=f"no TFRecord file matches --input .*{advice}") as caught:
        embed(model=model_dir, pattern=f"{tmp_path}/{pattern}", output=tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_compressed_shard_is_an_error_that_names_the_compression(
    examples_dir, model_dir, tmp_path
):
    (shard,) = examples_dir.glob("*test.tfrecord-*")
    for compress, message, error in (
        (gzip.compress, "compressed with gzip, .* decompress it with gunzip", WorkError),
        (zlib.compress, "is compressed with ZLIB", ConfigError),
    ):
        (tmp_path / shard.name).write_bytes(compress(shard.read_bytes()))
        with pytest.raises(error, match=message):
            embed(model=model_dir, pattern=f"{tmp_path}/*.tfrecord*", output=tmp_path / "out")


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
    with pytest.raises(WorkError, match="holds 50 records, but the manifest lists 100"):
        embed(model=model_dir, pattern=f"{tmp_path}/examples/*test*", output=tmp_path / "out")


def test_two_files_of_one_name_are_an_error(examples_dir, model_dir, tmp_path):
    for folder in "ab":
        shutil.copytree(examples_dir, tmp_path / folder)
    with pytest.raises(ConfigError, match="matches several files named synthetic_garments-test"):
        embed(model=model_dir, pattern=f"{tmp_path}/?/*test*", output=tmp_path / "out")


def test_a_damaged_model_is_an_error(examples_dir, model_dir, tmp_path):
    shutil.copytree(model_dir, tmp_path / "model")
    data = bytearray((tmp_path / "model/model.keras").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "model/model.keras").write_bytes(data)
    with pytest.raises(WorkError, match=r"model.keras is damaged"):
        embed(model=tmp_path / "model", pattern=f"{examples_dir}/*", output=tmp_path / "out")


def test_a_shard_of_another_run_with_the_same_size_is_refused(
    examples_dir, example_set, model_dir, tmp_path
):
    shutil.copytree(examples_dir, tmp_path / "examples")
    (shard,) = (tmp_path / "examples").glob("*test.tfrecord-*")
    batch = example_set.read("test")
    batch.images[3] ^= 1
    shard.write_bytes(codec.encode(batch))
    with pytest.raises(WorkError, match=rf"{shard} is damaged or belongs to another run"):
        embed(model=model_dir, pattern=str(shard), output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_replaced_before_a_task_is_refused(example_set, model_dir, tmp_path):
    (shard,) = example_set.shards["test"]
    record = example_set.artifact.output(shard.file)
    task = EmbedTask(str(example_set.path / shard.file), str(tmp_path / "x.parquet"), record.sha256)
    with pytest.raises(WorkError, match=r"model\.keras is damaged or belongs to another run"):
        embed_shard(task, str(model_dir / "model.keras"), "0" * 64)


def test_a_shard_without_examples_is_an_error(model_dir, tmp_path):
    (tmp_path / "empty.tfrecord").touch()
    digest = hashlib.sha256().hexdigest()
    task = EmbedTask(str(tmp_path / "empty.tfrecord"), str(tmp_path / "empty.parquet"), digest)
    with pytest.raises(WorkError, match=r"empty.tfrecord holds no examples"):
        embed_shards([task], model=load_artifact(model_dir, stage="train"))


def test_a_task_returns_the_number_of_examples(example_set, model_dir, tmp_path):
    model = load_artifact(model_dir, stage="train")
    for split in example_set.splits:
        for shard in example_set.shards[split]:
            task = EmbedTask(
                str(example_set.path / shard.file),
                str(tmp_path / f"{split}.parquet"),
                example_set.artifact.output(shard.file).sha256,
            )
            arguments = (str(model_dir / "model.keras"), model.output("model.keras").sha256)
            assert embed_shard(task, *arguments) == {"embedded": shard.examples}
        assert list(embeddings.read(tmp_path / f"{split}.parquet").ids) == (
            example_set.read(split).ids
        )


@pytest.fixture(scope="module")
def other_shape_dir(tmp_path_factory):
    """A prepared dataset of images whose height and width are not those of `model_dir`."""
    from pipeline.prepare.stage import prepare

    folder = tmp_path_factory.mktemp("other[1]*")
    images = np.random.default_rng(0).integers(0, 256, (60, 14, 56), np.uint8)
    np.savez(folder / "data.npz", images=images, labels=np.arange(60) % 3)
    prepare(
        tiny_prepare_config(dataset=str(folder / "data.npz")),
        output=folder / "examples",
    )
    return folder / "examples"


@pytest.mark.parametrize("kept", ["manifest.json", "features.json"])
def test_images_of_another_shape_are_refused(other_shape_dir, model_dir, tmp_path, kept):
    shutil.copytree(other_shape_dir, tmp_path / "examples")
    if kept != "manifest.json":
        (tmp_path / "examples/manifest.json").unlink()
    with pytest.raises(ConfigError, match=r"trained on 28x28x1 images, but .* are 14x56x1"):
        embed(model=model_dir, pattern=f"{tmp_path}/examples/*train*", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_shape_of_lone_shards_is_said_to_be_unknown(examples_dir, model_dir, tmp_path, capsys):
    (shard,) = examples_dir.glob("*test.tfrecord-*")
    shutil.copy(shard, tmp_path)
    embed(model=model_dir, pattern=f"{tmp_path}/*", output=tmp_path / "out")
    assert "taken to be 28x28x1" in capsys.readouterr().err


def test_the_columns_have_names_of_labels_and_split(examples_dir, example_set, model_dir, tmp_path):
    embed(model=model_dir, pattern=f"{examples_dir}/*test*", output=tmp_path / "out")
    (file,) = (tmp_path / "out").glob("*.parquet")
    table = pq.read_table(file)
    names = [example_set.class_names[label] for label in table["label"].to_pylist()]
    assert table["label_name"].to_pylist() == names
    assert set(table["split"].to_pylist()) == {"test"}


def test_a_directory_may_have_wildcards_in_its_name(examples_dir, model_dir, tmp_path, capsys):
    folder = tmp_path / "run[1]"
    shutil.copytree(examples_dir, folder / "examples")
    embed(model=model_dir, pattern=f"{folder}/examples/*test*", output=folder / "out")
    assert "embed: embedded 1 of 1 shards" in capsys.readouterr().err

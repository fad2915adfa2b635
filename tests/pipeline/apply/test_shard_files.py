import gzip
import shutil
import zlib

import pytest
from etils import epath

from components.base.errors import ConfigError, WorkError
from pipeline.apply import shard_files

SHAPE = (28, 28, 1)


@pytest.fixture
def shard(examples_dir) -> epath.Path:
    """A shard of 100 examples."""
    (path,) = examples_dir.glob("*test.tfrecord-*")
    return epath.Path(path)


def test_a_pattern_a_directory_or_a_path_names_shards(examples_dir, shard):
    every = shard_files.find(str(examples_dir))
    assert [path.name for path in every] == sorted(
        path.name for path in examples_dir.glob("*.tfrecord-*")
    )
    assert shard_files.find(f"{examples_dir}/*") == every
    assert shard_files.find(f"{examples_dir}/*test*") == shard_files.find(str(shard)) == [shard]


def test_a_folder_or_a_name_without_shards_is_left_to_the_sources(tmp_path):
    (tmp_path / "photos").mkdir()
    assert shard_files.find(str(tmp_path / "photos")) == []
    assert shard_files.find("fashion_mnist") == []


def test_the_records_of_a_shard_are_counted(shard):
    assert shard_files.count_records(shard, SHAPE) == 100


def test_a_compressed_shard_is_an_error_that_names_the_compression(shard, tmp_path):
    path = epath.Path(tmp_path / shard.name)
    for compress, message, error in (
        (gzip.compress, "compressed with gzip, .* decompress it with gunzip", WorkError),
        (zlib.compress, "is compressed with ZLIB", ConfigError),
    ):
        path.write_bytes(compress(shard.read_bytes()))
        with pytest.raises(error, match=message):
            shard_files.count_records(path, SHAPE)


def test_a_truncated_shard_is_an_error_that_names_the_record(shard, tmp_path):
    path = epath.Path(tmp_path / shard.name)
    data = shard.read_bytes()
    path.write_bytes(data[: len(data) // 2 - 1])
    with pytest.raises(WorkError, match=rf"record 49 of \S*{shard.name} is truncated"):
        shard_files.count_records(path, SHAPE)


def test_a_shard_without_examples_is_an_error(tmp_path):
    (tmp_path / "empty.tfrecord").touch()
    with pytest.raises(WorkError, match=r"empty.tfrecord holds no examples"):
        shard_files.count_records(epath.Path(tmp_path / "empty.tfrecord"), SHAPE)


def test_two_files_of_one_name_are_an_error(examples_dir, tmp_path):
    for folder in "ab":
        shutil.copytree(examples_dir, tmp_path / folder)
    with pytest.raises(ConfigError, match="matches several files named synthetic_garments-test"):
        shard_files.find(f"{tmp_path}/?/*test*")

import subprocess
import sys

import pytest

from components.base.errors import ConfigError
from components.sources.dataset_names import (
    _tfds_names,
    check_dataset,
    default_data_dir,
    expand_user,
    find_prepared,
    is_path,
)
from tests.components.sources.small_datasets import pretend_prepared
from tests.conftest import ROOT


def test_the_data_dir_is_the_one_of_tfds(monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", "/data")
    assert default_data_dir() == "/data"
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", "/home/me")
    assert str(expand_user(default_data_dir())) == "/home/me/tensorflow_datasets"


def test_a_path_is_distinguished_from_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("mnist", "pictures"):
        (tmp_path / folder).mkdir()
    assert not is_path("mnist", tmp_path)
    assert is_path("./mnist", tmp_path)
    assert is_path("pictures", tmp_path)
    assert is_path("pictures/*.tfrecord", tmp_path)
    assert not is_path("picture", tmp_path)
    assert is_path("gs://bucket/pictures", tmp_path)
    assert is_path("~/pictures", tmp_path)
    assert not is_path("mnist/config:3.0.1", tmp_path)


def test_a_prepared_dataset_takes_precedence_over_a_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes").mkdir()
    assert is_path("shapes", tmp_path / "data")
    pretend_prepared(tmp_path / "data", "shapes/1.0.0")
    assert not is_path("shapes", tmp_path / "data")


def test_the_newest_prepared_version_is_found(tmp_path):
    pretend_prepared(tmp_path, "shapes/2.0.0", "shapes/10.0.0", "shapes/9.9.9.incomplete")
    assert find_prepared("shapes", tmp_path).name == "10.0.0"
    assert find_prepared("shapes:2.0.0", tmp_path).name == "2.0.0"
    assert find_prepared("shapes:3.0.0", tmp_path) is None
    assert find_prepared("circles", tmp_path) is None


def test_a_config_is_a_folder_above_the_version(tmp_path):
    pretend_prepared(tmp_path, "shapes/round/1.0.0")
    assert find_prepared("shapes/round", tmp_path) == tmp_path / "shapes/round/1.0.0"
    assert find_prepared("shapes", tmp_path) is None


def test_known_and_prepared_names_and_existing_paths_are_accepted(tmp_path):
    pretend_prepared(tmp_path, "shapes/1.0.0")
    for dataset in ("mnist", "emnist/letters:3.1.0", "auto", "synthetic_garments", "shapes"):
        check_dataset(dataset, tmp_path, "")
    check_dataset(str(tmp_path), tmp_path, "")
    check_dataset(f"{tmp_path}/*.tfrecord", tmp_path, "image=image")


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="'fashion_minst'; nearest: fashion_mnist") as caught:
        check_dataset("fashion_minst", tmp_path, "")
    assert f"--data_dir {tmp_path}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_names_are_those_of_the_installed_tfds():
    # In a process of its own: building a dataset, as other tests do, changes the list.
    script = (
        "import tensorflow_datasets as tfds; "
        "print(*tfds.list_builders(with_community_datasets=False))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert _tfds_names() == done.stdout.split()


def test_names_are_checked_without_tensorflow_and_tfds():
    script = (
        "import sys; from components.sources import dataset_names as names\n"
        "names.check_dataset('mnist', '/nowhere', '')\n"
        "assert not {'tensorflow', 'tensorflow_datasets', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)

import datetime
import json
import os
import subprocess
import sys

import pytest
from etils import epath

from components.base import fsspec_setup
from tests.conftest import ROOT

SHOW = "import json, fsspec.config; print(json.dumps(fsspec.config.conf))"
SETUP = "import components.base.files"


def settings(code: str, **variables: str) -> dict:
    """What fsspec is configured to do after some code, in a new process without a config file."""
    environment = {name: text for name, text in os.environ.items() if "FSSPEC" not in name}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment | {"FSSPEC_CONFIG_DIR": "/nowhere"} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout)


@pytest.mark.parametrize("code", [f"{SETUP}; {SHOW}", f"import fsspec; {SETUP}; {SHOW}"])
def test_listings_are_not_cached_whenever_fsspec_is_imported(code):
    found = settings(code)
    assert found["s3"] == {"use_listings_cache": False, "default_block_size": 8 << 20}
    assert found["gs"] == found["gcs"] == {"use_listings_cache": False}


def test_the_choice_of_the_user_is_kept():
    found = settings(f"{SETUP}; {SHOW}", FSSPEC_S3_DEFAULT_BLOCK_SIZE="5", FSSPEC_S3_ANON="true")
    assert found["s3"] == {"use_listings_cache": False, "default_block_size": 5, "anon": True}


def test_fsspec_is_not_imported_before_it_is_needed():
    show = "import json, sys; print(json.dumps('fsspec' in sys.modules))"
    assert settings(f"{SETUP}; {show}") is False


NOON = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("info", "seconds"),
    [
        ({"mtime": 5}, 5.0),
        ({"mtime": NOON}, NOON.timestamp()),
        ({"LastModified": NOON}, NOON.timestamp()),
        ({"LastModified": "2026-11-26T12:00:00Z"}, NOON.timestamp()),
        ({"last_modified": NOON}, NOON.timestamp()),
        ({"size": 3}, 0.0),
    ],
)
def test_the_time_of_a_file_is_found_under_the_names_of_several_file_systems(info, seconds):
    assert fsspec_setup.modification_time(info) == seconds


def test_only_a_path_that_epath_reads_through_fsspec_has_its_file_system(object_store, tmp_path):
    assert fsspec_setup.file_system(epath.Path("s3://bucket/x")) is object_store
    assert fsspec_setup.file_system(epath.Path(tmp_path)) is None


def test_all_files_below_a_directory_are_listed_but_not_marks_of_directories(object_store):
    for name in ("a/b", "a/c/d", "ab", "a/marker/"):
        object_store.objects[f"bucket/{name}"] = b"1"
    found = fsspec_setup.list_objects(epath.Path("s3://bucket/a"))
    assert {name: info["size"] for name, info in found.items()} == {"b": 1, "c/d": 1}
    assert fsspec_setup.list_objects(epath.Path("s3://bucket/none")) == {}


def test_a_local_directory_is_not_listed_by_fsspec(tmp_path):
    assert fsspec_setup.list_objects(epath.Path(tmp_path)) is None

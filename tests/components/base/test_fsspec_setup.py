import json
import os
import subprocess
import sys

import pytest

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

"""Random bits are flipped in every file of a run: one line, or the right result."""

import json
import subprocess
from pathlib import Path

import pytest

from tests import attacks
from tests.conftest import ROOT, limited, module_command


@pytest.fixture(scope="module")
def run(examples_dir, tmp_path_factory) -> Path:
    """A run to attack."""
    directory = tmp_path_factory.mktemp("attacks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [])
        attacks.make_run(directory, examples_dir, patch)
    return directory


def test_there_are_500_flips_over_all_kinds_of_files():
    assert attacks.NUM_FLIPS >= 500


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("command", [attacks.FINISHED, *attacks.READERS])
def test_flipped_bits_lead_to_one_line_or_the_right_result(run, command):
    done = subprocess.run(
        limited(module_command("tests.attacks", run, command)),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    got_through = json.loads(done.stdout.splitlines()[-1])
    assert got_through == [], "\n\n".join(got_through)

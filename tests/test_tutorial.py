"""The tutorial runs from its first cell to its last, and has a picture in every section."""

import json
import os
import sys

import pytest

from tests.conftest import ROOT

TUTORIAL = ROOT / "docs" / "tutorial.ipynb"
MAX_BYTES = 400_000  # More is slow to show on a web page.


def sections(notebook) -> dict[str, list]:
    """The code cells below each heading, by heading."""
    found: dict[str, list] = {}
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and text.startswith("## "):
            found[text.partition("\n")[0]] = []
        elif cell["cell_type"] == "code":
            found[list(found)[-1]].append(cell)
    return found


def assert_has_pictures(notebook) -> None:
    """Asserts that every section shows a picture, and that no cell has failed."""
    for heading, cells in sections(notebook).items():
        outputs = [output for cell in cells for output in cell["outputs"]]
        assert all(output["output_type"] != "error" for output in outputs), heading
        assert any("image/png" in output.get("data", {}) for output in outputs), heading


def test_the_stored_pages_have_a_picture_in_every_section_and_are_small():
    notebook = json.loads(TUTORIAL.read_text())
    assert len(sections(notebook)) > 5
    assert_has_pictures(notebook)
    assert TUTORIAL.stat().st_size < MAX_BYTES
    counts = [cell["execution_count"] for cells in sections(notebook).values() for cell in cells]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.timeout(900)
def test_the_tutorial_runs(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    kernelspec = pytest.importorskip("ipykernel.kernelspec", reason="ipykernel is not installed")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    # A kernel in this environment, which finds this repository and what this process finds.
    kernelspec.install(prefix=str(tmp_path), kernel_name="tested")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, sys.path)]))
    notebook = nbformat.read(TUTORIAL, as_version=4)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = []
    client = nbclient.NotebookClient(
        notebook,
        kernel_name="tested",
        timeout=800,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    assert_has_pictures(notebook)

import importlib.metadata
import tomllib

import pytest

from pipeline.version import DISTRIBUTION, UNKNOWN, installed_version
from tests.conftest import ROOT


@pytest.fixture
def not_installed(monkeypatch, tmp_path) -> None:
    """Takes the repository, which may be installed in place, out of the path of packages."""
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version(DISTRIBUTION)


def test_the_version_is_that_of_the_installed_package(monkeypatch, tmp_path):
    folder = tmp_path / "vae_pipeline-9.8.7.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: vae-pipeline\nVersion: 9.8.7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert installed_version() == "9.8.7"


@pytest.mark.usefixtures("not_installed")
def test_without_a_package_the_version_is_that_of_the_repository():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert installed_version() == project["version"]
    assert project["name"] == DISTRIBUTION


@pytest.mark.usefixtures("not_installed")
@pytest.mark.parametrize("content", [None, "", "[project]", "project = 3", "["])
def test_where_neither_is_there_the_version_is_unknown(tmp_path, content):
    project = tmp_path / "pyproject.toml"
    if content is not None:
        project.write_text(content)
    assert installed_version(project=project) == UNKNOWN

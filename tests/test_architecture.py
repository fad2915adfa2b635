"""The rules that keep the folders apart: who may import whom, and what has one place."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("components", "trainer", "pipeline")
MODULES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
SOURCES = [path for path in MODULES if path.name != "__init__.py"]

# Each folder, and what it may import of this project beside itself. A folder covers the folders
# below it that are not listed.
MAY_IMPORT = {
    "components/base": set(),
    "components/data": {"components/base"},
    "components/ingest": {"components/base", "components/data"},
    "components/sources": {"components/base", "components/data", "components/ingest"},
    "components/model": {"components/base"},
    "components/metrics": {"components/base", "components/model"},
    "components/figures": set(),
    "trainer/devices": {"components"},
    "trainer/optimization": {"components", "trainer/devices"},
    "trainer/recording": {"components", "trainer"},
    "trainer": {"components", "trainer"},
    "pipeline/beam": {"components"},
    "pipeline/prepare": {"components", "pipeline/beam"},
    "pipeline/apply": {"components", "pipeline/beam"},
    "pipeline/evaluate": {"components", "trainer", "pipeline/apply"},
    "pipeline": {"components", "trainer", "pipeline"},
}


def imported(path: Path) -> set[str]:
    """The full names of modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {path}"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(path: Path) -> set[str]:
    """The top-level packages that a file imports."""
    return {name.split(".")[0] for name in imported(path)}


def attributes(path: Path) -> set[str]:
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }


def having(predicate) -> set[str]:
    return {str(p.relative_to(ROOT)) for p in MODULES if predicate(p)}


def folder_of(place: str) -> str:
    """The folder of `MAY_IMPORT` that covers a path."""
    found = [folder for folder in MAY_IMPORT if place.startswith(f"{folder}/")]
    assert found, f"{place} is in no folder that has rules"
    return max(found, key=len)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_folders_import_only_what_they_may(path):
    own = folder_of(str(path.relative_to(ROOT)))
    for name in imported(path):
        if name.split(".")[0] not in PACKAGES:
            continue
        target = folder_of(name.replace(".", "/") + "/")
        allowed = target == own or any(
            target == each or target.startswith(f"{each}/") for each in MAY_IMPORT[own]
        )
        assert allowed, f"{path} imports {name}"


def test_only_the_trainer_makes_a_strategy():
    users = having(lambda p: "MirroredStrategy(" in p.read_text())
    assert users == {"trainer/devices/strategy.py"}


def test_only_main_modules_read_arguments():
    assert having(lambda p: "argv" in attributes(p)) == {
        "pipeline/__main__.py",
        "trainer/__main__.py",
    }


def test_only_artifacts_renames():
    names = {"rename", "renames", "move"}
    assert having(lambda p: attributes(p) & names) == {"components/base/artifacts.py"}
    assert having(lambda p: "os.replace" in p.read_text()) == set()


def test_the_model_knows_no_path_and_the_loop_no_metric():
    for name in ("networks", "distributions", "objective", "noise"):
        assert "etils" not in packages(ROOT / "components" / "model" / f"{name}.py")
    loop = ROOT / "trainer" / "optimization" / "loop.py"
    assert not any(name.startswith("components.metrics") for name in imported(loop))

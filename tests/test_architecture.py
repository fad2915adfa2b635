"""The import rules that keep the three folders apart."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("components", "trainer", "pipeline")
MODULES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level packages that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {path}"
            names.add(node.module.split(".")[0])
    return names


def attributes(path: Path) -> set[str]:
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }


def having(predicate) -> set[str]:
    return {str(p.relative_to(ROOT)) for p in MODULES if predicate(p)}


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [("components", {"trainer", "pipeline"}), ("trainer", {"pipeline"})],
)
def test_imports_never_point_backwards(folder, forbidden):
    for path in (ROOT / folder).rglob("*.py"):
        assert not imported(path) & forbidden, path


def test_only_pipeline_imports_beam():
    users = having(lambda p: "apache_beam" in imported(p))
    assert users
    assert all(user.startswith("pipeline/") for user in users)


def test_only_the_trainer_makes_a_strategy():
    assert having(lambda p: "MirroredStrategy(" in p.read_text()) == {"trainer/strategy.py"}


def test_only_main_modules_read_arguments():
    assert having(lambda p: "argv" in attributes(p)) == {
        "pipeline/__main__.py",
        "trainer/__main__.py",
    }


def test_only_artifacts_renames():
    names = {"rename", "renames", "move"}
    assert having(lambda p: attributes(p) & names) == {"components/artifacts.py"}
    assert having(lambda p: "os.replace" in p.read_text()) == set()


def test_the_model_knows_no_path_and_the_loop_no_metric():
    for name in ("networks", "distributions"):
        assert "etils" not in imported(ROOT / "components" / f"{name}.py")
    assert "metrics" not in (ROOT / "trainer" / "loop.py").read_text()


def test_tests_mirror_the_folders():
    tested = {p.parent.name: p.stem for p in (ROOT / "tests").rglob("test_*.py")}
    for path in (ROOT / "tests").glob("*/test_*.py"):
        source = path.stem.removeprefix("test_")
        found = list((ROOT / path.parent.name).rglob(f"{source}.py"))
        found += list((ROOT / path.parent.name).rglob(f"{source}/__init__.py"))
        assert found or source == "main", f"{path} mirrors nothing"
    assert tested

"""The rules that keep the folders apart: who may import whom, and what has one place."""

import ast
import collections
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("components", "trainer", "pipeline")
MODULES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
SOURCES = [path for path in MODULES if path.name != "__init__.py"]

# Each folder, and what it may import of this project besides itself. A folder covers the folders
# below it that are not listed. A path that ends in `.py` allows one module.
MAY_IMPORT = {
    "components/base": set(),
    "components/data": {"components/base"},
    "components/ingest": {"components/base", "components/data"},
    "components/sources": {"components/base", "components/data", "components/ingest"},
    "components/model": {"components/base"},
    "components/metrics": {"components/base", "components/model"},
    "components/compression": {"components/base", "components/model"},
    "components/figures": set(),
    "components/api": {"components/base", "components/model", "components/metrics"},
    "trainer/devices": {"components"},
    "trainer/optimization": {"components", "trainer/devices"},
    "trainer/recording": {"components", "trainer/build.py", "trainer/config.py"},
    "trainer/verification": {"components", "trainer/build.py", "trainer/config.py"},
    "trainer": {"components", "trainer"},
    "pipeline/beam": {"components"},
    "pipeline/prepare": {"components", "pipeline/beam"},
    "pipeline/apply": {"components", "pipeline/beam", "pipeline/prepare"},
    "pipeline/compress": {"components", "pipeline/beam", "pipeline/apply"},
    "pipeline/embed": {"components", "pipeline/beam", "pipeline/apply"},
    "pipeline/denoise": {"components", "pipeline/beam", "pipeline/apply"},
    "pipeline/evaluate": {"components", "trainer", "pipeline/apply", "pipeline/embed"},
    "pipeline/neighbours": {"components"},
    "pipeline/compare": {"components", "trainer", "pipeline/evaluate"},
    "pipeline/generate": {"components"},
    "pipeline/export": {"components", "trainer"},
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


def modules_where(predicate) -> set[str]:
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
        place = name.replace(".", "/") + "/"
        allowed = target == own or any(
            place.startswith(f"{each.removesuffix('.py')}/") for each in MAY_IMPORT[own]
        )
        assert allowed, f"{path} imports {name}"


# The packages with an attribute for programs and notebooks, which is imported on first use.
LAZY_PACKAGES = {"components/model", "trainer"}


def test_packages_are_empty_except_for_a_docstring_and_an_attribute_on_first_use():
    lazy = set()
    for path in MODULES:
        if path.name == "__init__.py":
            body = ast.parse(path.read_text()).body
            if any(isinstance(each, ast.FunctionDef) for each in body):
                lazy.add(str(path.parent.relative_to(ROOT)))
                docstring, import_of_typing, function = body
                assert isinstance(docstring, ast.Expr)
                assert ast.unparse(import_of_typing) == "from typing import Any"
                assert function.name == "__getattr__"
            else:
                is_docstring = [isinstance(each, ast.Expr) for each in body]
                assert is_docstring in ([], [True]), path
    assert lazy == LAZY_PACKAGES


def test_no_two_classes_have_one_name():
    places = collections.defaultdict(list)
    for path in [*MODULES, *(ROOT / "benchmarks").rglob("*.py")]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_only_beam_imports_beam():
    users = modules_where(lambda p: "apache_beam" in packages(p))
    assert users
    assert all(user.startswith("pipeline/beam/") for user in users)


def test_only_the_trainer_makes_a_strategy():
    users = modules_where(lambda p: "MirroredStrategy(" in p.read_text())
    assert users == {"trainer/devices/strategy.py"}


def test_only_main_modules_read_arguments():
    assert modules_where(lambda p: "argv" in attributes(p)) == {
        "pipeline/__main__.py",
        "pipeline/console_script.py",
        "trainer/__main__.py",
    }


def test_only_artifacts_renames():
    names = {"rename", "renames", "move"}
    assert modules_where(lambda p: attributes(p) & names) == {"components/base/artifacts.py"}
    assert modules_where(lambda p: "os.replace" in p.read_text()) == set()


def test_the_model_knows_no_path_and_the_loop_no_metric():
    model = ROOT / "components" / "model"
    # The formats of files have modules of their own.
    files = {"embeddings.py", "model_file.py", "restore.py"}
    modules = [path for path in model.rglob("*.py") if path.name not in files]
    assert len(modules) > len(files)
    for path in modules:
        assert "etils" not in packages(path), path
    loop = ROOT / "trainer" / "optimization" / "loop.py"
    assert not any(name.startswith("components.metrics") for name in imported(loop))


def test_every_module_has_a_test_file_and_every_test_file_a_module():
    modules = {path.relative_to(ROOT) for path in SOURCES}
    expected = {path.parent / f"test_{path.stem.strip('_')}.py" for path in modules}
    tests = ROOT / "tests"
    found = {path.relative_to(tests) for path in tests.glob("*/**/test_*.py")}
    assert {str(path) for path in expected - found} == set(), "modules without a test file"
    assert {str(path) for path in found - expected} == set(), "test files without a module"


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folders_import_from_all_places_that_they_may(folder):
    own = [path for path in SOURCES if folder_of(str(path.relative_to(ROOT))) == folder]
    places = [f"{name.replace('.', '/')}/" for path in own for name in imported(path)]
    unused = {
        allowed
        for allowed in MAY_IMPORT[folder]
        if not any(place.startswith(f"{allowed.removesuffix('.py')}/") for place in places)
    }
    assert unused == set()

"""The probe of a worker's versions: a transform that also runs where this package is not installed.

It is sent to the workers as the source code of this module, which therefore imports nothing of this
project. In any other form, a worker with another Python or without this package could not load it.
"""

import hashlib
import importlib.metadata
import importlib.util
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

NAMESPACE = "versions"
NOT_INSTALLED = "not installed"

# The packages whose code the tasks run.
_PACKAGES = ("components", "pipeline")
_DIGITS = 12


class Probe(beam.DoFn):
    """Counts once, for each name of `versions`, the counter `NAME VERSION`.

    Counters reach the driver on every runner, and a job that only counts does not fail.

    Args:
      packages: see `versions`.
      source: the source code of this module. An instance is pickled as this text.
    """

    def __init__(self, packages: Sequence[str], source: str):
        self._packages = tuple(packages)
        self._source = source

    def process(self, _element: Any) -> None:
        for name, version in versions(self._packages).items():
            Metrics.counter(NAMESPACE, f"{name} {version}").inc()

    def __reduce__(self) -> tuple[Any, ...]:
        # `exec` returns None, so that the value is that of the second operand.
        make = (
            "lambda packages, source, names: "
            "exec(source, names) or names['Probe'](packages, source)"
        )
        return eval, (f"({make})({self._packages!r}, {self._source!r}, {{}})",)


def probe(packages: Sequence[str]) -> Probe:
    """The transform, to be applied to one element.

    Args:
      packages: see `versions`.
    """
    return Probe(packages, Path(__file__).read_text())


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The versions of this process, which must be the same in the driver and its workers.

    Args:
      packages: names of installed packages, besides Beam and this project.
    """
    return {
        **{name: _installed_version(name) for name in packages},
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "apache-beam": beam.__version__,
        "vae-pipeline": code_version(),
    }


def _installed_version(package: str) -> str:
    """The version of a package, which is not imported."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return NOT_INSTALLED


def code_version() -> str:
    """The first digits of a digest of this package's code, or `NOT_INSTALLED`."""
    digest = hashlib.sha256()
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            return NOT_INSTALLED
        root = Path(next(iter(spec.submodule_search_locations)))
        modules = {path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
        for place in sorted(modules):
            digest.update(f"{name}/{place}\0".encode() + modules[place].read_bytes())
    return f"code {digest.hexdigest()[:_DIGITS]}"

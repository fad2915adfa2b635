"""Published artifacts: directories with a manifest, `manifest.json`, that says how they were made.

A manifest holds everything needed to run the stage again and to check the result:

  format_version: version of this format.
  stage: name of the stage that made the artifact.
  config: every setting that the result depends on.
  inputs: by name, the fingerprint of each input and, if it is on disk, its path.
  outputs: by path, the size in bytes and the SHA-256 digest of each file; `volatile` marks files
    that differ between runs of the same work, such as those that hold times.
  counts: results that the stage counted, such as images per split.
  notes: warnings for readers of the results.
  versions: versions of Python and of the packages that determine the result.
  wall_seconds: duration of the run.

Paths are relative to the directory of the artifact.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from components.base import files
from components.base.errors import ConfigError, WorkError

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
DRAFT_SUFFIX = ".draft"  # A directory of this name is still being written.
_REQUIRED_KEYS = {"format_version", "stage", "config", "inputs", "outputs", "counts", "notes"}
_PACKAGES = (
    "tensorflow",
    "keras",
    "tensorflow-datasets",
    "apache-beam",
    "numpy",
    "pillow",
    "pyarrow",
)


@dataclasses.dataclass(frozen=True)
class Input:
    """Something that a stage reads.

    Attributes:
      path: where it is; None if it is not on disk, such as a generated dataset.
      fingerprint: digest of its content.
    """

    path: epath.Path | None
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A published directory and its manifest."""

    path: epath.Path
    manifest: Mapping[str, Any]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of the work and its result; equal work on equal inputs has equal fingerprints."""
        return fingerprint(
            {
                "stage": self.manifest["stage"],
                "config": self.manifest["config"],
                "inputs": self._input_fingerprints(),
                "outputs": {
                    name: output["sha256"]
                    for name, output in self._outputs.items()
                    if not output.get("volatile")
                },
            }
        )

    def identity(self) -> dict[str, Any]:
        """The fields that decide whether another run would do the same work."""
        return identity(
            stage=self.manifest["stage"],
            config=self.manifest["config"],
            fingerprints=self._input_fingerprints(),
        )

    def as_input(self) -> Input:
        """This artifact as the input of another stage."""
        return Input(self.path, self.fingerprint)

    def check_sizes(self) -> None:
        """Checks that every output exists with its published size.

        Raises:
          WorkError: a file is missing or truncated.
        """
        for name, output in self._outputs.items():
            path = self.path / name
            if not path.exists():
                raise WorkError(f"{path} is missing; restore it, or recreate it with --overwrite")
            if (size := files.stat(path).size) != output["bytes"]:
                raise WorkError(
                    f"{path} has {size} bytes, but its manifest says {output['bytes']}; "
                    "restore it, or recreate it with --overwrite"
                )

    def is_intact(self) -> bool:
        """Whether every output has the content it was published with; reads all files."""
        return all((self.path / name).exists() and self._matches(name) for name in self._outputs)

    def verified(self, name: str) -> epath.Path:
        """The path of an output, after checking its content.

        Raises:
          WorkError: the content has changed since it was published.
        """
        path = self.path / name
        if not self._matches(name):
            raise WorkError(
                f"{path} is damaged: its content does not match its manifest; "
                "restore it, or recreate it with --overwrite"
            )
        return path

    @property
    def _outputs(self) -> Mapping[str, Any]:
        return self.manifest["outputs"]

    def _matches(self, name: str) -> bool:
        return files.sha256(self.path / name) == self._outputs[name]["sha256"]

    def _input_fingerprints(self) -> dict[str, str]:
        return {name: value["fingerprint"] for name, value in self.manifest["inputs"].items()}


def load_artifact(directory: epath.PathLike, *, stage: str, check_sizes: bool = True) -> Artifact:
    """Loads the artifact that a stage published in a directory.

    Args:
      directory: directory of the artifact.
      stage: name of the stage that must have made it.
      check_sizes: whether to check that every file exists with its published size.

    Raises:
      ConfigError: there is no artifact, or another stage made it.
      WorkError: a file is missing or truncated.
    """
    directory = epath.Path(directory)
    manifest = None if directory.name.endswith(DRAFT_SUFFIX) else read_manifest(directory)
    if manifest is None:
        raise ConfigError(
            f"{directory} is not a finished artifact (it has no valid {MANIFEST}); "
            f"run the {stage} stage first"
        )
    if manifest["format_version"] != FORMAT_VERSION:
        raise ConfigError(
            f"{directory} has format version {manifest['format_version']}, but this program reads "
            f"version {FORMAT_VERSION}; run the {stage} stage again"
        )
    if manifest["stage"] != stage:
        raise ConfigError(
            f"{directory} was made by the {manifest['stage']} stage, "
            f"but an artifact of the {stage} stage is needed here"
        )
    artifact = Artifact(directory, manifest)
    if check_sizes:
        artifact.check_sizes()
    return artifact


def published_config(directory: epath.PathLike) -> Mapping[str, Any]:
    """The config of the artifact in a directory; empty if there is no artifact."""
    manifest = read_manifest(epath.Path(directory))
    return manifest["config"] if manifest else {}


def read_manifest(directory: epath.Path) -> dict[str, Any] | None:
    """Reads the manifest in a directory; None if there is none, or not one of this project."""
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text()) if path.exists() else None
    except (ValueError, UnicodeDecodeError):
        return None
    is_ours = isinstance(manifest, dict) and manifest.keys() >= _REQUIRED_KEYS
    return manifest if is_ours else None


def describe_inputs(inputs: Mapping[str, Input], *, directory: epath.Path) -> dict[str, Any]:
    """The `inputs` of the manifest of an artifact in `directory`."""
    described = {}
    for name, value in inputs.items():
        described[name] = {"fingerprint": value.fingerprint}
        if value.path is not None:
            described[name]["path"] = files.relative_path(value.path, directory)
    return described


def describe_outputs(
    paths: Iterable[epath.Path], *, directory: epath.Path, volatile_prefixes: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The `outputs` of the manifest of an artifact in `directory`; flushes the files to disk.

    Args:
      paths: the files, all below `directory`.
      directory: directory of the artifact.
      volatile_prefixes: prefixes of the relative paths of volatile files.
    """
    described: dict[str, Any] = {}
    for path in paths:
        name = path.relative_to(directory).as_posix()
        described[name] = {
            "bytes": files.stat(path).size,
            "sha256": files.sha256(path, sync=True),
        }
        if name.startswith(volatile_prefixes):
            described[name]["volatile"] = True
    return described


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that determine the results."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **versions}


def identity(
    *, stage: str, config: Mapping[str, Any], fingerprints: Mapping[str, str]
) -> dict[str, Any]:
    """The fields that decide whether two runs do the same work, flat, as JSON values.

    Args:
      stage: name of the stage.
      config: every setting that the result depends on.
      fingerprints: fingerprint of each input, by name.
    """
    fields = {"stage": stage, **config}
    for name, value in fingerprints.items():
        fields[f"input {name}"] = value[:12]
    # Through JSON, so that tuples equal the lists that a manifest holds in their place.
    return json.loads(json.dumps(fields))


def differences(existing: Mapping[str, Any], requested: Mapping[str, Any]) -> list[str]:
    """Describes each field in which two identities differ, for an error message."""
    return [
        f"{name} is {existing.get(name)}, not the requested {requested.get(name)}"
        for name in sorted(existing.keys() | requested.keys())
        if existing.get(name) != requested.get(name)
    ]


def fingerprint(value: Any) -> str:
    """The SHA-256 digest of a JSON value in canonical form, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

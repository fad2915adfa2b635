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
  digest: digest of all of the above except the duration, by which a damaged manifest is recognized;
    the manifests of equal runs differ in the duration alone.

Paths are relative to the directory of the artifact. A manifest may come from somebody else: it is
converted to types here, once, and a mistake in it is an error of one line.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from etils import epath

from components.base import earlier_versions, files, json_types
from components.base.errors import ConfigError, WorkError, one_line

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
DRAFT_SUFFIX = ".draft"  # A directory of this name is still being written.
# Some 400,000 files: reading it takes seconds and a gigabyte of memory.
_MAX_BYTES = 64 << 20
_FINGERPRINTED = 1000  # Values of a long list that are converted to JSON at once.
# A JSON object without any of these keys is the manifest of another program.
_OWN_KEYS = {"format_version", "stage", "outputs"}
_DIGEST = "digest"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PACKAGES = (
    "tensorflow",
    "keras",
    "tensorflow-datasets",
    "apache-beam",
    "numpy",
    "pillow",
    "pyarrow",
)

T = TypeVar("T")


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
class InputRecord:
    """An input in a manifest.

    Attributes:
      fingerprint: digest of its content.
      path: where it was, relative to the artifact or remote; None if it was not on disk.
    """

    fingerprint: str
    path: str | None = None


@dataclasses.dataclass(frozen=True)
class OutputRecord:
    """A file in a manifest.

    Attributes:
      bytes: its size.
      sha256: its SHA-256 digest, in hexadecimal.
      volatile: whether it differs between runs of the same work.

    Raises:
      ValueError: the size or the digest cannot be one.
    """

    bytes: int
    sha256: str
    volatile: bool = False

    def __post_init__(self) -> None:
        if self.bytes < 0 or not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"{self.bytes} bytes with digest {self.sha256[:80]!r} is not a file")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The content of a manifest; see the top of this module.

    Raises:
      ValueError: an output is not below the directory of the artifact, or the stage has no name.
    """

    format_version: int
    stage: str
    config: dict[str, Any]
    inputs: dict[str, InputRecord]
    outputs: dict[str, OutputRecord]
    counts: dict[str, Any]
    notes: list[str]
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    wall_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not self.stage.isidentifier():
            raise ValueError(f"stage is {self.stage[:80]!r}, not a name")
        for name in self.outputs:
            if not is_plain_name(name):
                raise ValueError(f"the output {name[:80]!r} is not a name within the directory")

    def to_json(self) -> str:
        """The text of the file."""
        value = dataclasses.asdict(self)
        for described, optional in (("inputs", "path"), ("outputs", "volatile")):
            for record in value[described].values():
                if not record[optional]:
                    del record[optional]
        # Through JSON, because the digest is compared with that of a value from JSON.
        value = json.loads(json.dumps(value))
        return json.dumps({**value, _DIGEST: content_digest(value)}, indent=2) + "\n"

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Manifest":
        """Converts the JSON value of the file.

        Raises:
          ValueError: it does not have its digest, or something in it has another type.
        """
        content = {name: each for name, each in value.items() if name != _DIGEST}
        # A manifest that was written before manifests had digests has none.
        if _DIGEST in value and value[_DIGEST] != content_digest(content):
            raise ValueError("its content does not match its digest")
        return json_types.parse(Manifest, content)


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A published directory and its manifest."""

    path: epath.Path
    manifest: Manifest

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of the work and its result; equal work on equal inputs has equal fingerprints."""
        return fingerprint(
            {
                "stage": self.manifest.stage,
                "config": self.manifest.config,
                "inputs": self._input_fingerprints(),
                "outputs": {
                    name: output.sha256
                    for name, output in self.manifest.outputs.items()
                    if not output.volatile
                },
            }
        )

    def identity(self) -> dict[str, Any]:
        """The fields that decide whether another run would do the same work."""
        return identity(
            stage=self.manifest.stage,
            config=self.manifest.config,
            fingerprints=self._input_fingerprints(),
        )

    def setting(self, name: str, kind: type[T]) -> T:
        """A setting of the run that made this artifact.

        Args:
          name: name of the field of its config.
          kind: the type that it must have.

        Raises:
          WorkError: there is no such setting, or it has another type.
        """
        if name not in self.manifest.config:
            raise damaged(self.path, f"config.{name} is missing")
        return self._parsed(kind, self.manifest.config[name], f"config.{name}")

    def counts(self, kind: type[T]) -> T:
        """The results that the stage counted, as a dataclass.

        Raises:
          WorkError: they are not those of this dataclass.
        """
        return self._parsed(kind, self.manifest.counts, "counts")

    def _parsed(self, kind: type[T], value: Any, where: str) -> T:
        try:
            return json_types.parse(kind, value, where=where)
        except ValueError as error:
            raise damaged(self.path, str(error)) from None

    def as_input(self) -> Input:
        """This artifact as the input of another stage."""
        return Input(self.path, self.fingerprint)

    def output(self, name: str) -> OutputRecord:
        """The record of an output.

        Raises:
          WorkError: the stage did not write it.
        """
        if name not in self.manifest.outputs:
            raise damaged(self.path, f"it does not list {name}")
        return self.manifest.outputs[name]

    def check_sizes(self) -> None:
        """Checks that every output exists with its published size.

        Raises:
          WorkError: a file is missing or truncated, or is not a regular file.
        """
        for name, output in self.manifest.outputs.items():
            path = self.path / name
            if not path.exists():
                raise WorkError(f"{path} is missing; restore it, or recreate it with --overwrite")
            files.check_regular(path)
            if (size := files.stat(path).size) != output.bytes:
                raise WorkError(
                    f"{path} has {size} bytes, but its manifest says {output.bytes}; "
                    "restore it, or recreate it with --overwrite"
                )

    def check_content(self) -> None:
        """Checks that every output has the content it was published with; reads all files.

        Raises:
          WorkError: a file is missing or damaged.
        """
        self.check_sizes()
        for name in self.manifest.outputs:
            self.verified(name)

    def is_intact(self) -> bool:
        """Whether every output has the content it was published with; reads all files."""
        try:
            self.check_content()
        except WorkError:
            return False
        return True

    def verified(self, name: str) -> epath.Path:
        """The path of an output, after checking its content.

        Raises:
          WorkError: the content has changed since it was published, or the stage did not write it.
        """
        path, expected = self.path / name, self.output(name).sha256
        if files.sha256(path) != expected:
            raise files.content_error(path)
        return path

    def _input_fingerprints(self) -> dict[str, str]:
        return {name: record.fingerprint for name, record in self.manifest.inputs.items()}


def content_digest(value: Mapping[str, Any]) -> str:
    """The digest of a manifest, from its JSON value without it."""
    return fingerprint({name: each for name, each in value.items() if name != "wall_seconds"})


def is_plain_name(name: str) -> bool:
    """Whether a name leads to a file below the directory that it is joined to, on every system.

    It is a relative path without `.` and `..`, with either kind of slash.
    """
    parts = name.replace("\\", "/").split("/")
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return "\0" not in name and not {"", ".", ".."} & set(parts)


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
            f"{directory} is not a finished artifact (it has no {MANIFEST} of this pipeline); "
            f"run the {stage} stage first"
        )
    if manifest.stage != stage:
        raise ConfigError(
            f"{directory} was made by the {manifest.stage} stage, "
            f"but an artifact of the {stage} stage is needed here"
        )
    artifact = Artifact(directory, manifest)
    if check_sizes:
        artifact.check_sizes()
    return artifact


def published_config(directory: epath.PathLike) -> Mapping[str, Any]:
    """The config of the artifact in a directory; empty if there is no artifact.

    Raises:
      ConfigError, WorkError: see `read_manifest`.
    """
    manifest = read_manifest(epath.Path(directory))
    return manifest.config if manifest else {}


def read_manifest(directory: epath.Path) -> Manifest | None:
    """Reads the manifest in a directory; None if there is none, or only that of another program.

    Raises:
      ConfigError: another version of this program wrote it.
      WorkError: it is damaged.
    """
    path = directory / MANIFEST
    # A link that leads nowhere is a manifest that has been lost.
    if not path.exists() and not os.path.islink(path):
        return None
    try:
        value = json_types.load(path, max_bytes=_MAX_BYTES)
        if not isinstance(value, dict) or not value.keys() & _OWN_KEYS:
            return None
        version = value.get("format_version")
        if isinstance(version, int) and version != FORMAT_VERSION:
            raise ConfigError(
                f"{directory} has format version {version}, but this program reads version "
                f"{FORMAT_VERSION}; make it again in a new directory"
            )
        return Manifest.from_json(value)
    except ValueError as error:
        raise damaged(directory, str(error)) from None


def damaged(directory: epath.Path, reason: str) -> WorkError:
    """The error for a manifest that cannot be used, in the directory of an artifact."""
    return WorkError(
        f"{directory / MANIFEST} is damaged: {reason}; restore it from a copy, or remove "
        f"{directory} by hand and run the stage that made it again"
    )


def describe_inputs(
    inputs: Mapping[str, Input], *, directory: epath.Path
) -> dict[str, InputRecord]:
    """The `inputs` of the manifest of an artifact in `directory`."""
    return {
        name: InputRecord(
            value.fingerprint,
            None if value.path is None else files.relative_path(value.path, directory),
        )
        for name, value in inputs.items()
    }


def describe_outputs(
    paths: Iterable[epath.Path],
    *,
    directory: epath.Path,
    volatile_prefixes: tuple[str, ...] = (),
    known: Mapping[str, OutputRecord] | None = None,
) -> dict[str, OutputRecord]:
    """The `outputs` of the manifest of an artifact in `directory`; flushes the files to disk.

    Args:
      paths: the files, all below `directory`.
      directory: directory of the artifact.
      volatile_prefixes: prefixes of the relative paths of volatile files.
      known: sizes and digests of files that are already flushed to disk, by their relative paths.

    Raises:
      WorkError: a known file has another size, a file is not a regular one, or its name does not
        lead to a file below the directory on every system.
    """
    described = {}
    for path in paths:
        name = path.relative_to(directory).as_posix()
        if not is_plain_name(name):
            raise WorkError(
                f"{path} cannot be published: its name looks like a path; rename what it was made "
                "of, and run the same command again"
            )
        if known and name in known:
            described[name] = _checked(path, known[name])
            continue
        described[name] = OutputRecord(
            bytes=files.stat(path).size,
            sha256=files.sha256(path, sync=True),
            volatile=name.startswith(volatile_prefixes),
        )
    return described


def _checked(path: epath.Path, record: OutputRecord) -> OutputRecord:
    """The record of a file that has its size."""
    files.check_regular(path)
    if (size := files.stat(path).size) != record.bytes:
        raise WorkError(
            f"{path} has {size:,} bytes, but {record.bytes:,} were written; another program has "
            "changed it; run the same command again"
        )
    return record


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
    fields = {"stage": stage, **earlier_versions.with_earlier(stage, config)}
    for name, value in fingerprints.items():
        fields[f"input {name}"] = value[:12]
    # Through JSON, so that tuples equal the lists that a manifest holds in their place.
    return json.loads(json.dumps(fields))


def differences(existing: Mapping[str, Any], requested: Mapping[str, Any]) -> list[str]:
    """Describes each field in which two identities differ, for an error message."""
    return [
        f"{one_line(name, length=80)} is {one_line(existing.get(name), length=200)}, "
        f"not the requested {one_line(requested.get(name), length=200)}"
        for name in sorted(existing.keys() | requested.keys())
        if existing.get(name) != requested.get(name)
    ]


def fingerprint(value: Any) -> str:
    """The SHA-256 digest of a JSON value in canonical form, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def fingerprint_of_all(values: Iterable[Any]) -> str:
    """The fingerprint of a list of JSON values, without holding them all in memory."""
    digest = hashlib.sha256(b"[")
    separator = b""
    remaining = iter(values)
    while some := list(itertools.islice(remaining, _FINGERPRINTED)):
        digest.update(separator + json.dumps(some, sort_keys=True)[1:-1].encode())
        separator = b", "
    digest.update(b"]")
    return digest.hexdigest()

"""Artifacts: directories that are either whole, with a manifest, or not there.

A stage writes into a draft directory beside its target (`examples.draft` beside `examples`), its
`manifest.json` last, and publishes by rename. A reader refuses a directory without a manifest.
This is the only module that renames.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from components.errors import ConfigError, WorkError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_PLAN = "plan.json"
_TEMPORARY = ".tmp"
_PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "apache-beam", "numpy", "pyarrow")


@dataclasses.dataclass(frozen=True)
class Input:
    """Something a stage reads: where it lies, and a digest of what it is."""

    path: epath.Path | None  # None: nothing on disk, as for a drawn dataset
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A finished directory and its manifest."""

    path: epath.Path
    manifest: Mapping[str, Any]

    @functools.cached_property
    def fingerprint(self) -> str:
        """A digest of all that makes this artifact what it is; the same work gives the same."""
        identity = {key: self.manifest[key] for key in ("stage", "config", "inputs", "outputs")}
        identity["inputs"] = {k: v["fingerprint"] for k, v in identity["inputs"].items()}
        return fingerprint(identity)

    def as_input(self) -> Input:
        return Input(self.path, self.fingerprint)


@dataclasses.dataclass
class Draft:
    """A directory being written. `counts` and `notes` go into the manifest."""

    path: epath.Path
    counts: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one call of a stage is to make: equal plans make equal artifacts.

    Attributes:
      stage: the stage's name.
      directory: where the artifact is to stand.
      config: every setting that the result depends on; JSON values.
      inputs: what is read, by name.
    """

    stage: str
    directory: epath.Path
    config: Mapping[str, Any]
    inputs: Mapping[str, Input]

    @property
    def draft_directory(self) -> epath.Path:
        return self.directory.parent / f"{self.directory.name}.draft"

    @property
    def _replaced_directory(self) -> epath.Path:
        return self.directory.parent / f"{self.directory.name}.replaced"

    def is_done(self, *, overwrite: bool) -> bool:
        """Whether the artifact stands already, made from the same config and the same inputs.

        Raises:
          ConfigError: the directory holds something else and `overwrite` is false, or something
            that no stage of this project made.
          WorkError: the artifact is the right one but a file of it is missing or cut.
        """
        self._finish_interrupted_replacement()
        if not self.directory.exists() or _is_empty(self.directory):
            return False
        if not (self.directory / MANIFEST).exists():
            raise ConfigError(
                f"{self.directory} exists and is no artifact of this pipeline (it has no "
                f"{MANIFEST}); name a new directory, or move it away"
            )
        manifest = json.loads((self.directory / MANIFEST).read_text())
        differing = _differences(_identity(manifest), self._identity())
        if not differing and not overwrite:
            _check_sizes(self.directory, manifest)
        elif not overwrite:
            raise ConfigError(
                f"{self.directory} holds other work: {'; '.join(differing)}; "
                "name a new directory, or replace it with --overwrite"
            )
        return not overwrite

    @contextlib.contextmanager
    def publish(self, *, resume: bool = False, overwrite: bool = False) -> Iterator[Draft]:
        """Gives a draft to write into; publishes it if the body ends without an exception.

        Args:
          resume: keep what an earlier, unfinished call of the same plan left in the draft.
          overwrite: drop an unfinished draft of another plan, and replace a published artifact.

        Raises:
          ConfigError: `resume` is set and the draft there belongs to another plan.
          WorkError: another process is writing the same draft.
        """
        start = time.monotonic()
        self.draft_directory.mkdir(parents=True, exist_ok=True)
        with _locked(self.draft_directory):
            self._open_draft(resume=resume, overwrite=overwrite)
            draft = Draft(self.draft_directory)
            yield draft
            (draft.path / _PLAN).unlink()
            manifest = {
                "format_version": FORMAT_VERSION,
                "stage": self.stage,
                "config": dict(self.config),
                "inputs": {name: self._describe(value) for name, value in self.inputs.items()},
                "outputs": _digests(draft.path),
                "counts": draft.counts,
                "notes": draft.notes,
                "versions": _versions(),
                "wall_seconds": round(time.monotonic() - start, 3),
            }
            _write_durably(draft.path / MANIFEST, json.dumps(manifest, indent=2) + "\n")
            if self.directory.exists() and not _is_empty(self.directory):
                self.directory.rename(self._replaced_directory)
            elif self.directory.exists():
                self.directory.rmdir()
            draft.path.rename(self.directory)
            self._finish_interrupted_replacement()

    def _identity(self) -> dict[str, Any]:
        inputs = {name: {"fingerprint": value.fingerprint} for name, value in self.inputs.items()}
        return _identity({"stage": self.stage, "config": self.config, "inputs": inputs})

    def _open_draft(self, *, resume: bool, overwrite: bool) -> None:
        plan_file = self.draft_directory / _PLAN
        if resume and not overwrite and plan_file.exists():
            differing = _differences(json.loads(plan_file.read_text()), self._identity())
            if not differing:
                for path in _files_below(self.draft_directory):
                    if path.name.endswith(_TEMPORARY):
                        path.unlink()
                return
            raise ConfigError(
                f"{self.draft_directory} holds unfinished work of another config: "
                f"{'; '.join(differing)}; name a new directory, or drop it with --overwrite"
            )
        for child in self.draft_directory.iterdir():
            child.rmtree() if child.is_dir() else child.unlink()
        _write_durably(plan_file, json.dumps(self._identity(), indent=2))

    def _finish_interrupted_replacement(self) -> None:
        """A replacement is two renames; a process killed between them left the old one aside."""
        if not self._replaced_directory.exists():
            return
        if self.directory.exists():
            self._replaced_directory.rmtree()
        else:
            self._replaced_directory.rename(self.directory)

    def _describe(self, value: Input) -> dict[str, str]:
        described = {"fingerprint": value.fingerprint}
        if value.path is not None:
            described["path"] = _relative(value.path, self.directory)
        return described


def load(directory: epath.PathLike, *, stage: str) -> Artifact:
    """The finished artifact of `stage` in `directory`.

    Raises:
      ConfigError: there is none, or it is another stage's.
      WorkError: a file of it is missing or cut.
    """
    directory = epath.Path(directory)
    if not (directory / MANIFEST).exists():
        raise ConfigError(
            f"{directory} is no finished artifact (no {MANIFEST}); run the {stage} stage first"
        )
    manifest = json.loads((directory / MANIFEST).read_text())
    if manifest["format_version"] != FORMAT_VERSION:
        raise ConfigError(
            f"{directory} has format version {manifest['format_version']}, this program reads "
            f"{FORMAT_VERSION}; run the {stage} stage again"
        )
    if manifest["stage"] != stage:
        raise ConfigError(
            f"{directory} was made by the {manifest['stage']} stage; one of {stage} is needed here"
        )
    _check_sizes(directory, manifest)
    return Artifact(directory, manifest)


@contextlib.contextmanager
def written_whole(path: epath.PathLike) -> Iterator[epath.Path]:
    """Gives a temporary path beside `path`, renamed to `path` if the body ends well.

    For files that several workers may write at once, or that are replaced while others read them.
    """
    path = epath.Path(path)
    temporary = path.parent / f"{path.name}.{os.getpid()}{_TEMPORARY}"
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def fingerprint(value: Any) -> str:
    """The SHA-256 of a JSON value in its canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What decides whether two calls do the same work, as flat fields."""
    fields = {"stage": manifest["stage"], **manifest["config"]}
    for name, value in manifest["inputs"].items():
        fields[f"input {name}"] = value["fingerprint"][:12]
    return json.loads(json.dumps(fields))


def _differences(there: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} is {there.get(name)} there, {asked.get(name)} asked"
        for name in sorted(there.keys() | asked.keys())
        if there.get(name) != asked.get(name)
    ]


def _check_sizes(directory: epath.Path, manifest: Mapping[str, Any]) -> None:
    for name, described in manifest["outputs"].items():
        path = directory / name
        if not path.exists():
            raise WorkError(f"{path} is missing; restore it, or make it again with --overwrite")
        if (length := path.stat().length) != described["bytes"]:
            raise WorkError(
                f"{path} has {length} bytes, its manifest says {described['bytes']}; "
                "restore it, or make it again with --overwrite"
            )


def _digests(directory: epath.Path) -> dict[str, dict[str, Any]]:
    """Bytes and SHA-256 of every file below `directory`, by relative path."""
    digests = {}
    for path in _files_below(directory):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if os.path.isfile(path):
                os.fsync(file.fileno())
        name = path.relative_to(directory).as_posix()
        digests[name] = {"bytes": path.stat().length, "sha256": digest}
    return digests


def _files_below(directory: epath.Path) -> list[epath.Path]:
    return sorted(root / name for root, _, names in directory.walk() for name in names)


def _write_durably(path: epath.Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        if os.path.isfile(path):
            os.fsync(file.fileno())


@contextlib.contextmanager
def _locked(directory: epath.Path) -> Iterator[None]:
    """Holds a local directory for this process; the system lets go of it however we end."""
    if not os.path.isdir(directory):
        yield  # Object stores have no locks.
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkError(
                f"another process is writing {directory}; wait for it, or name another directory"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _is_empty(directory: epath.Path) -> bool:
    return directory.is_dir() and not any(directory.iterdir())


def _relative(path: epath.Path, start: epath.Path) -> str:
    """`path` as seen from `start`; other schemes than the local one stay as they are."""
    if "://" in os.fspath(path) or "://" in os.fspath(start):
        return os.fspath(path)
    return os.path.relpath(path, start)


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **versions}

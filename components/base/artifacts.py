"""Artifacts: directories that are either whole, with a manifest, or not there.

A stage writes into a draft directory beside its target (`examples.draft` beside `examples`), its
`manifest.json` last, and publishes by rename. A reader refuses a directory without a manifest.
This is the only module that renames.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import platform
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from components.base import files
from components.base.errors import ConfigError, WorkError

FORMAT_VERSION = 1
_MANIFEST_KEYS = {"format_version", "stage", "config", "inputs", "outputs", "counts", "notes"}
MANIFEST = "manifest.json"
_PLAN = "plan.json"
_TEMPORARY = ".tmp"
_DRAFT = ".draft"
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
        identity = {key: self.manifest[key] for key in ("stage", "config")}
        identity["inputs"] = {k: v["fingerprint"] for k, v in self.manifest["inputs"].items()}
        identity["outputs"] = {
            name: described["sha256"]
            for name, described in self.manifest["outputs"].items()
            if not described.get("volatile")
        }
        return fingerprint(identity)

    def as_input(self) -> Input:
        return Input(self.path, self.fingerprint)

    def check_sizes(self) -> None:
        """Raises WorkError where a file of it is missing or cut."""
        _check_sizes(self.path, self.manifest)

    def verified(self, name: str) -> epath.Path:
        """The path of an output, its bytes checked. Raises WorkError where they have changed."""
        path = self.path / name
        if files.sha256(path) != self.manifest["outputs"][name]["sha256"]:
            raise WorkError(
                f"{path} is damaged: its bytes are not those its manifest describes; "
                "restore it, or make it again with --overwrite"
            )
        return path


@dataclasses.dataclass
class Draft:
    """A directory being written. `counts` and `notes` go into the manifest."""

    path: epath.Path
    counts: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class ArtifactPlan:
    """What one call of a stage is to make: equal plans make equal artifacts.

    Attributes:
      stage: the stage's name.
      directory: where the artifact is to stand.
      config: every setting that the result depends on; JSON values.
      inputs: what is read, by name.
      volatile: beginnings of the names of outputs that hold times, and so differ between two runs
        of the same work; the artifact's fingerprint leaves them out.
    """

    stage: str
    directory: epath.Path
    config: Mapping[str, Any]
    inputs: Mapping[str, Input]
    volatile: tuple[str, ...] = ()

    @property
    def draft_directory(self) -> epath.Path:
        return self.directory.parent / f"{self.directory.name}{_DRAFT}"

    @property
    def _replaced_directory(self) -> epath.Path:
        return self.directory.parent / f"{self.directory.name}.replaced"

    def is_done(self, *, overwrite: bool) -> bool:
        """Whether the artifact stands already, made from the same config and the same inputs.

        With `overwrite`, other work and damaged files there mean that it does not.

        Raises:
          ConfigError: the directory holds other work, or something that no stage of this project
            made (whatever `overwrite` says).
          WorkError: the artifact is the right one but a file of it is missing or cut.
        """
        self.settle()
        if not self.directory.exists() or files.is_empty(self.directory):
            return False
        manifest = _read_manifest(self.directory)
        if manifest is None:
            raise ConfigError(
                f"{self.directory} exists and is no artifact of this pipeline (it has no "
                f"{MANIFEST} of one); name a new directory, or move it away"
            )
        differing = _differences(_identity(manifest), self._identity())
        if differing and not overwrite:
            raise ConfigError(
                f"{self.directory} holds other work: {'; '.join(differing)}; "
                "name a new directory, or replace it with --overwrite"
            )
        if overwrite:
            return not differing and _is_intact(self.directory, manifest)
        _check_sizes(self.directory, manifest)
        return True

    def settle(self) -> None:
        """Ends a replacement that a killed process began."""
        if self._replaced_directory.exists():
            with files.locked(self.draft_directory):
                self._finish_interrupted_replacement()

    @contextlib.contextmanager
    def publish(
        self, *, resume: bool = False, overwrite: bool = False, renew: bool = False
    ) -> Iterator[Draft]:
        """Gives a draft to write into; publishes it if the body ends without an exception.

        Args:
          resume: keep what an earlier, unfinished call of the same plan left in the draft.
          overwrite: drop an unfinished draft of another plan, and replace a published artifact.
          renew: replace a published artifact even of the same plan.

        Raises:
          ConfigError: the directory, or the draft beside it, holds other work or is none of ours.
          WorkError: another process is writing the same draft, or published meanwhile.
        """
        start = time.monotonic()
        with files.locked(self.draft_directory):
            self._finish_interrupted_replacement()
            # Asked again, since before the lock another process may have published.
            if not renew and self.is_done(overwrite=overwrite):
                raise WorkError(f"{self.directory} was published meanwhile; it is up to date")
            if self.directory.exists() and files.is_empty(self.directory):
                # What cannot be replaced, such as a mount point, fails now, not after the work.
                self.directory.rmdir()
            self._open_draft(resume=resume, overwrite=overwrite)
            draft = Draft(self.draft_directory)
            yield draft
            manifest = {
                "format_version": FORMAT_VERSION,
                "stage": self.stage,
                "config": dict(self.config),
                "inputs": {name: self._describe(value) for name, value in self.inputs.items()},
                "outputs": self._describe_outputs(),
                "counts": draft.counts,
                "notes": draft.notes,
                "versions": _versions(),
                "wall_seconds": round(time.monotonic() - start, 3),
            }
            files.write_durably(draft.path / MANIFEST, json.dumps(manifest, indent=2) + "\n")
            if self.directory.exists():
                self.directory.rename(self._replaced_directory)
            draft.path.rename(self.directory)
            # Kept until now, so that a publication that fails does not lose the work.
            (self.directory / _PLAN).unlink()
            self._finish_interrupted_replacement()

    def _identity(self) -> dict[str, Any]:
        inputs = {name: {"fingerprint": value.fingerprint} for name, value in self.inputs.items()}
        return _identity({"stage": self.stage, "config": self.config, "inputs": inputs})

    def _open_draft(self, *, resume: bool, overwrite: bool) -> None:
        """Clears the draft, or keeps it to go on with."""
        children = list(self.draft_directory.iterdir())
        plan_file = self.draft_directory / _PLAN
        if not plan_file.exists() and any(not p.name.endswith(_TEMPORARY) for p in children):
            raise ConfigError(
                f"{self.draft_directory} is in the way and is no draft of this pipeline (it has no "
                f"{_PLAN}); move it away"
            )
        there = json.loads(plan_file.read_text()) if plan_file.exists() else {}
        differing = _differences(there, self._identity())
        if there and differing and not overwrite and (resume or there["stage"] != self.stage):
            raise ConfigError(
                f"{self.draft_directory} holds unfinished other work: {'; '.join(differing)}; "
                "name a new directory, or drop it with --overwrite"
            )
        if resume and not differing:
            for path in files.files_below(self.draft_directory):
                if path.name == MANIFEST or path.name.endswith(_TEMPORARY):
                    path.unlink()
            return
        for child in children:
            child.rmtree() if child.is_dir() else child.unlink()
        with atomic_write(plan_file) as temporary:
            files.write_durably(temporary, json.dumps(self._identity(), indent=2))

    def _finish_interrupted_replacement(self) -> None:
        """A replacement is two renames; a process killed between them left the old one aside."""
        if not self._replaced_directory.exists():
            return
        if _read_manifest(self._replaced_directory) is None:
            raise ConfigError(
                f"{self._replaced_directory} is in the way and was not made by this pipeline; "
                "move it away"
            )
        if self.directory.exists():
            self._replaced_directory.rmtree()
        else:
            self._replaced_directory.rename(self.directory)

    def _describe_outputs(self) -> dict[str, dict[str, Any]]:
        """Bytes and SHA-256 of every file of the draft, by relative path."""
        outputs: dict[str, dict[str, Any]] = {}
        for path in files.files_below(self.draft_directory):
            name = path.relative_to(self.draft_directory).as_posix()
            if name == _PLAN:
                continue
            if name.endswith(_TEMPORARY):
                path.unlink()  # Of a worker that was killed, whose work another did.
                continue
            outputs[name] = {
                "bytes": files.status(path).size,
                "sha256": files.sha256(path, sync=True),
            }
            if name.startswith(self.volatile):
                outputs[name]["volatile"] = True
        return outputs

    def _describe(self, value: Input) -> dict[str, str]:
        described = {"fingerprint": value.fingerprint}
        if value.path is not None:
            described["path"] = files.relative(value.path, self.directory)
        return described


def load(directory: epath.PathLike, *, stage: str, check_sizes: bool = True) -> Artifact:
    """The finished artifact of `stage` in `directory`.

    Raises:
      ConfigError: there is none, or it is another stage's.
      WorkError: a file of it is missing or cut (not with `check_sizes` off).
    """
    directory = epath.Path(directory)
    manifest = None if directory.name.endswith(_DRAFT) else _read_manifest(directory)
    if manifest is None:
        raise ConfigError(
            f"{directory} is no finished artifact (no {MANIFEST} of one); "
            f"run the {stage} stage first"
        )
    if manifest["format_version"] != FORMAT_VERSION:
        raise ConfigError(
            f"{directory} has format version {manifest['format_version']}, this program reads "
            f"{FORMAT_VERSION}; run the {stage} stage again"
        )
    if manifest["stage"] != stage:
        raise ConfigError(
            f"{directory} was made by the {manifest['stage']} stage; one of {stage} is needed here"
        )
    artifact = Artifact(directory, manifest)
    if check_sizes:
        artifact.check_sizes()
    return artifact


def published_config(directory: epath.PathLike) -> Mapping[str, Any]:
    """The config of the artifact that stands in `directory`; empty if there is none."""
    manifest = _read_manifest(epath.Path(directory))
    return manifest["config"] if manifest else {}


@contextlib.contextmanager
def atomic_write(path: epath.PathLike) -> Iterator[epath.Path]:
    """Gives a temporary path beside `path`, renamed to `path` if the body ends well.

    For files that several workers may write at once, or that are replaced while others read them.
    """
    path = epath.Path(path)
    temporary = path.parent / f"{path.name}.{uuid.uuid4().hex}{_TEMPORARY}"
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
        if (length := files.status(path).size) != described["bytes"]:
            raise WorkError(
                f"{path} has {length} bytes, its manifest says {described['bytes']}; "
                "restore it, or make it again with --overwrite"
            )


def _is_intact(directory: epath.Path, manifest: Mapping[str, Any]) -> bool:
    """Whether every output has the bytes it was published with."""
    return all(
        (directory / name).exists() and files.sha256(directory / name) == described["sha256"]
        for name, described in manifest["outputs"].items()
    )


def _read_manifest(directory: epath.Path) -> dict[str, Any] | None:
    """The manifest in a directory; None if there is none, or none of this project's."""
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text()) if path.exists() else None
    except (ValueError, UnicodeDecodeError):
        return None
    is_ours = isinstance(manifest, dict) and manifest.keys() >= _MANIFEST_KEYS
    return manifest if is_ours else None


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **versions}

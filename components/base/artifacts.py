"""Publishing artifacts: a directory appears complete and with a manifest, or not at all.

A stage writes into a draft directory next to its target (`examples.draft` next to `examples`),
writes `manifest.json` last, and publishes the draft by renaming it. Readers refuse a directory
without a manifest. This is the only module that renames files.
"""

import contextlib
import dataclasses
import json
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from components.base import files, json_types
from components.base.errors import ConfigError, WorkError
from components.base.manifest import (
    DRAFT_SUFFIX,
    FORMAT_VERSION,
    MANIFEST,
    Artifact,
    Input,
    Manifest,
    OutputRecord,
    describe_inputs,
    describe_outputs,
    differences,
    identity,
    package_versions,
    read_manifest,
)

_PLAN = "plan.json"
_REPLACED_SUFFIX = ".replaced"
# Marks an artifact that is being replaced, so that it is not mistaken for a copy of a user.
_REPLACEMENT_MARK = "being_replaced"
_TEMPORARY_SUFFIX = ".tmp"
# The names of `atomic_write`. Other files that end like them are the user's.
_TEMPORARY = re.compile(rf".*\.[0-9a-f]{{32}}{re.escape(_TEMPORARY_SUFFIX)}", re.S)
_MAX_PLAN_BYTES = 16 << 20


@dataclasses.dataclass
class Draft:
    """A directory that is being written.

    Attributes:
      path: directory to write the outputs to.
      counts: results to record in the manifest.
      notes: warnings to record in the manifest.
      outputs: sizes and digests of outputs that are known, by their names; these files are on disk
        and are not read again.
    """

    path: epath.Path
    counts: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    outputs: dict[str, OutputRecord] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ArtifactPlan:
    """The work of one run of a stage: equal plans make equal artifacts.

    Attributes:
      stage: name of the stage.
      directory: where to publish the artifact; the target of a link, if it is one.
      config: every setting that the result depends on, as JSON values.
      inputs: what the stage reads, by name.
      volatile_prefixes: prefixes of the paths of outputs that differ between runs of the same
        work, such as those that hold times; the artifact's fingerprint leaves them out.
      is_writer: whether this process may change the directory. Of several hosts of a run, one may.
    """

    stage: str
    directory: epath.Path
    config: Mapping[str, Any]
    inputs: Mapping[str, Input]
    volatile_prefixes: tuple[str, ...] = ()
    is_writer: bool = True

    def __post_init__(self) -> None:
        if os.path.islink(self.directory):
            # Renaming a link would leave its target as it is.
            object.__setattr__(self, "directory", epath.Path(os.path.realpath(self.directory)))

    @property
    def draft_directory(self) -> epath.Path:
        """The directory that holds the outputs until they are published."""
        return self.directory.parent / f"{self.directory.name}{DRAFT_SUFFIX}"

    @property
    def _replaced_directory(self) -> epath.Path:
        return self.directory.parent / f"{self.directory.name}{_REPLACED_SUFFIX}"

    def is_up_to_date(self, *, overwrite: bool, verify: bool = False) -> bool:
        """Whether the directory already holds the artifact of this plan.

        Args:
          overwrite: return False, rather than raise an error, if the directory holds another
            artifact of this stage or a damaged one.
          verify: read all files of the artifact, to compare their content with the manifest, and
            not only their sizes; `overwrite` does so anyway.

        Raises:
          ConfigError: the directory holds another artifact. Whatever `overwrite` says: it is an
            input or contains one, or it holds something that this stage did not write.
          WorkError: the directory holds the right artifact, but a file is missing or truncated or,
            with `verify`, damaged. Whatever `overwrite` says: the manifest is damaged, so that
            nobody knows what the directory holds.
        """
        self._check_target()
        self.recover_replacement()
        if not self.directory.exists() or files.is_empty(self.directory):
            return False
        manifest = read_manifest(self.directory)
        if manifest is None:
            raise ConfigError(
                f"{self.directory} exists but is not an artifact of this pipeline (it has no "
                f"{MANIFEST} of it); choose a new directory, or move this one away"
            )
        artifact = Artifact(self.directory, manifest)
        if (stage := manifest.stage) != self.stage:
            raise ConfigError(
                f"{self.directory} holds an artifact of the {stage} stage, which the {self.stage} "
                "stage never replaces; choose a new directory"
            )
        differing = differences(artifact.identity(), self._identity())
        if differing and not overwrite:
            raise ConfigError(
                f"{self.directory} holds a different artifact: {'; '.join(differing)}; "
                "choose a new directory, or replace the artifact with --overwrite"
            )
        if not overwrite:
            artifact.check_content() if verify else artifact.check_sizes()
            return True
        if not differing and artifact.is_intact():
            return True
        self._check_replaceable()
        return False

    def recover_replacement(self) -> None:
        """Finishes or undoes a replacement that was interrupted when a process was killed."""
        # Two hosts that start at once would be in each other's way.
        if self.is_writer and (self._replaced_directory / _REPLACEMENT_MARK).exists():
            with files.directory_lock(self.draft_directory):
                self._recover_replacement()

    @contextlib.contextmanager
    def publish(
        self, *, resume: bool = False, overwrite: bool = False, rebuild: bool = False
    ) -> Iterator[Draft]:
        """Yields a draft to write into; publishes it if the body ends without an exception.

        Args:
          resume: keep the files that an earlier, unfinished run of the same plan left in the draft.
          overwrite: discard an unfinished draft of another plan, and replace another artifact;
            only those of this stage.
          rebuild: replace a published artifact even if it is up to date.

        Raises:
          ConfigError: the directory, or the draft next to it, holds a different artifact or
            something that this stage did not write, or the directory is an input or contains one.
          WorkError: another process is writing the same draft, or has just published it.
        """
        start = time.monotonic()
        self._check_target()
        with files.directory_lock(self.draft_directory):
            self._recover_replacement()
            # Another process may have published since the caller checked.
            if not rebuild and self.is_up_to_date(overwrite=overwrite):
                raise WorkError(
                    f"another process has just published {self.directory}; it is up to date"
                )
            if rebuild and self.directory.exists():
                self._check_replaceable()
            if self._replaced_directory.exists():
                raise ConfigError(
                    f"{self._replaced_directory} is in the way: this stage uses the name while it "
                    "replaces an artifact; move it away"
                )
            if self.directory.exists() and files.is_empty(self.directory):
                # A target that cannot be replaced, such as a mount point, fails before the work.
                self.directory.rmdir()
            self._open_draft(resume=resume, overwrite=overwrite, rebuild=rebuild)
            draft = Draft(self.draft_directory)
            yield draft
            manifest = self._describe(draft, start=start)
            files.write_durably(draft.path / MANIFEST, manifest.to_json())
            if self.directory.exists():
                # Checked again: files may have been added since the work began.
                self._check_replaceable()
                (self.directory / _REPLACEMENT_MARK).write_text("")
                self.directory.rename(self._replaced_directory)
            draft.path.rename(self.directory)
            # Kept until now, so that the work can be resumed if publishing fails.
            (self.directory / _PLAN).unlink()
            self._recover_replacement()

    def _identity(self) -> dict[str, Any]:
        fingerprints = {name: value.fingerprint for name, value in self.inputs.items()}
        return identity(stage=self.stage, config=self.config, fingerprints=fingerprints)

    def _check_target(self) -> None:
        """Checks that publishing harms no input and no artifact that is set aside.

        Raises:
          ConfigError: the directory is an input or contains one, or its name ends like the names
            of drafts or of replaced artifacts.
        """
        if self.directory.name.endswith((DRAFT_SUFFIX, _REPLACED_SUFFIX)):
            raise ConfigError(
                f"{self.directory}: names that end with {DRAFT_SUFFIX} or {_REPLACED_SUFFIX} are "
                "for directories that a stage is writing or replacing; choose another name"
            )
        for name, value in self.inputs.items():
            if value.path is not None and files.contains(self.directory, value.path):
                relation = "is" if files.contains(value.path, self.directory) else "contains"
                raise ConfigError(
                    f"the output directory {self.directory} {relation} the input {name!r} of this "
                    f"stage ({value.path}); choose another output directory"
                )

    def _check_replaceable(self) -> None:
        """Checks that the directory holds nothing except the files in its manifest.

        Raises:
          ConfigError: it holds something else, which would be lost if the artifact were replaced:
            a file, an empty directory, or a link to a directory.
        """
        manifest = read_manifest(self.directory)
        names = {MANIFEST, _PLAN, _REPLACEMENT_MARK, *(manifest.outputs if manifest else ())}
        known = {self.directory / name for name in names}
        # A directory is empty if its files have been lost.
        folders = {parent for path in known for parent in path.parents}
        others = sorted(
            path
            for path in files.leaves(self.directory) - known
            if path not in folders or os.path.islink(path)
        )
        if others:
            more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
            raise ConfigError(
                f"{self.directory} is not replaced, because it holds files that are not part of "
                f"its artifact: {others[0]}{more}; move them away, or choose a new directory"
            )

    def _open_draft(self, *, resume: bool, overwrite: bool, rebuild: bool) -> None:
        """Prepares the draft: keeps its files if they are to be resumed, removes them otherwise."""
        children = list(self.draft_directory.iterdir())
        plan_file = self.draft_directory / _PLAN
        if not plan_file.exists() and any(not _TEMPORARY.fullmatch(p.name) for p in children):
            raise ConfigError(
                f"{self.draft_directory} is in the way and is not a draft of this pipeline (it has "
                f"no {_PLAN}); move it away"
            )
        existing = _read_plan(plan_file) if plan_file.exists() else {}
        differing = differences(existing, self._identity())
        if existing and existing["stage"] != self.stage:
            raise ConfigError(
                f"{self.draft_directory} holds an unfinished artifact of the {existing['stage']} "
                f"stage, which the {self.stage} stage never discards; choose a new directory"
            )
        # Work that failed before its first file is nothing to lose.
        has_work = any(path.name != _PLAN for path in files.leaves(self.draft_directory))
        if has_work and existing and differing and resume and not overwrite:
            raise ConfigError(
                f"{self.draft_directory} holds a different, unfinished artifact: "
                f"{'; '.join(differing)}; choose a new directory, or "
                # With `rebuild`, --overwrite would replace the artifact that is kept until the end.
                + ("delete this one" if rebuild else "discard it with --overwrite")
            )
        if resume and not differing:
            # The work would be written to where a link leads, and could not be published.
            if links := sorted(filter(os.path.islink, files.leaves(self.draft_directory))):
                raise ConfigError(
                    f"{links[0]} is a link, which no unfinished work has; move it away, and run "
                    "the same command again"
                )
            for path in files.walk_files(self.draft_directory):
                # Not the manifests of artifacts that are part of the work.
                if path == self.draft_directory / MANIFEST or _TEMPORARY.fullmatch(path.name):
                    path.unlink()
            return
        for child in children:
            child.rmtree() if child.is_dir() and not os.path.islink(child) else child.unlink()
        with atomic_write(plan_file) as temporary:
            files.write_durably(temporary, json.dumps(self._identity(), indent=2))

    def _recover_replacement(self) -> None:
        """Does what `recover_replacement` does, for a caller that holds the lock.

        A replacement is two renames: the old artifact is set aside, then the draft takes its place.
        A directory of that name without the mark of a replacement is left as it is.
        """
        if not (self._replaced_directory / _REPLACEMENT_MARK).exists():
            return
        if self.directory.exists():
            self._replaced_directory.rmtree()
        else:
            self._replaced_directory.rename(self.directory)
            (self.directory / _REPLACEMENT_MARK).unlink()

    def _describe(self, draft: Draft, *, start: float) -> Manifest:
        """The manifest of a finished draft, whose work began at `start` (monotonic seconds)."""
        return Manifest(
            format_version=FORMAT_VERSION,
            stage=self.stage,
            config=dict(self.config),
            inputs=describe_inputs(self.inputs, directory=self.directory),
            outputs=describe_outputs(
                self._collect_outputs(),
                directory=self.draft_directory,
                volatile_prefixes=self.volatile_prefixes,
                known=draft.outputs,
            ),
            counts=draft.counts,
            notes=draft.notes,
            versions=package_versions(),
            wall_seconds=round(time.monotonic() - start, 3),
        )

    def _collect_outputs(self) -> Iterator[epath.Path]:
        """Yields the outputs in the draft; deletes temporary files and empty directories."""
        for path in files.walk_files(self.draft_directory):
            if _TEMPORARY.fullmatch(path.name):
                path.unlink()  # Left by a worker that was killed; another worker did its task.
        # No manifest lists one, so it would look like the user's, and never be replaced.
        files.remove_empty_directories(self.draft_directory)
        yield from sorted(files.leaves(self.draft_directory) - {self.draft_directory / _PLAN})


def _read_plan(path: epath.Path) -> dict[str, Any]:
    """The identity of the work in a draft.

    Raises:
      ConfigError: the file is damaged.
    """
    try:
        plan = json_types.load(path, max_bytes=_MAX_PLAN_BYTES)
        json_types.parse(dict[str, Any], plan)
        json_types.parse(str, plan.get("stage"), where="stage")
    except ValueError as error:
        raise ConfigError(
            f"{path} is damaged: {error}; remove {path.parent} by hand, which holds unfinished "
            "work, and run the same command again"
        ) from None
    return plan


@contextlib.contextmanager
def atomic_write(path: epath.PathLike) -> Iterator[epath.Path]:
    """Yields a temporary path next to `path`, and renames it to `path` if the body succeeds.

    For files that several workers may write at once, or that are replaced while others read them.
    """
    path = epath.Path(path)
    temporary = path.parent / f"{path.name}.{uuid.uuid4().hex}{_TEMPORARY_SUFFIX}"
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

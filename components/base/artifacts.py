"""Publishing artifacts: a directory appears complete and with a manifest, or not at all.

A stage writes into a draft directory next to its target (`examples.draft` next to `examples`),
writes `manifest.json` last, and publishes the draft by renaming it. On an object store, which
cannot rename, the draft is the target itself; see `object_drafts`. Readers refuse a directory
without a manifest. This is the only module that renames files.
"""

import contextlib
import dataclasses
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from etils import epath

from components.base import drafts, files, local_files, object_drafts
from components.base.drafts import PLAN, TEMPORARY_SUFFIX, Draft
from components.base.errors import ConfigError, WorkError
from components.base.manifest import (
    DRAFT_SUFFIX,
    FORMAT_VERSION,
    MANIFEST,
    Artifact,
    Input,
    Manifest,
    describe_inputs,
    describe_outputs,
    differences,
    identity,
    package_versions,
    read_manifest,
)

_REPLACED_SUFFIX = ".replaced"
# Marks an artifact that is being replaced, so that it is not mistaken for a copy of a user.
_REPLACEMENT_MARK = "being_replaced"


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
        """The directory that holds the outputs until they are published.

        On an object store it is the target.
        """
        return self.directory if files.is_remote(self.directory) else self.rebuild_directory

    @property
    def rebuild_directory(self) -> epath.Path:
        """The draft of work with `rebuild`, which may read the published artifact until its end."""
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
            with `verify`, damaged. Whatever `overwrite` says: the manifest is damaged, so it is
            unknown what the directory holds.
        """
        self._check_target()
        self.recover_replacement()
        if not self.directory.exists() or files.is_empty(self.directory):
            return False
        manifest = read_manifest(self.directory)
        if manifest is None:
            if files.is_remote(self.directory) and (self.directory / PLAN).exists():
                return False  # It is a draft.
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
        if not self.is_writer:
            return  # Two hosts that start at once would interfere with each other.
        if (self._replaced_directory / _REPLACEMENT_MARK).exists():
            with files.directory_lock(self.rebuild_directory):
                self._recover_replacement()
        if files.is_remote(self.directory):
            draft = self.rebuild_directory
            if (draft / MANIFEST).exists():
                if (self.directory / MANIFEST).exists():
                    self._check_replaceable()
                object_drafts.replace(self.directory, draft)
            object_drafts.finish_removal(draft)

    def check_unfinished(self, *, overwrite: bool, rebuild: bool = False) -> None:
        """Checks that no unfinished work of another plan would be lost.

        For a stage whose work is resumed only under conditions of its own: `publish` without
        `resume` discards a draft.

        Args:
          overwrite, rebuild: see `publish`.

        Raises:
          ConfigError: the draft holds a different artifact or something that this stage did not
            write.
        """
        directory = self.rebuild_directory if rebuild else self.draft_directory
        read = object_drafts.read_identity if files.is_remote(directory) else drafts.read_plan
        if existing := read(directory):
            drafts.can_resume(
                directory,
                existing,
                self._identity(),
                resume=True,
                overwrite=overwrite,
                rebuild=rebuild,
            )

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
        self._check_target()
        write = self._write_in_place if files.is_remote(self.directory) else self._write_and_rename
        with write(resume=resume, overwrite=overwrite, rebuild=rebuild) as draft:
            yield draft

    @contextlib.contextmanager
    def _write_and_rename(self, *, resume: bool, overwrite: bool, rebuild: bool) -> Iterator[Draft]:
        """Does what `publish` does in a local directory."""
        start = time.monotonic()
        with files.directory_lock(self.draft_directory):
            self._recover_replacement()
            self._check_not_published(overwrite=overwrite, rebuild=rebuild)
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
            manifest = self._describe(draft, drafts.collect_outputs(draft.path), start=start)
            files.write_durably(draft.path / MANIFEST, manifest.to_json())
            if self.directory.exists():
                # Checked again: files may have been added since the work began.
                self._check_replaceable()
                (self.directory / _REPLACEMENT_MARK).write_text("")
                self.directory.rename(self._replaced_directory)
            draft.path.rename(self.directory)
            # Kept until now, so that the work can be resumed if publishing fails.
            (self.directory / PLAN).unlink()
            self._recover_replacement()

    @contextlib.contextmanager
    def _write_in_place(self, *, resume: bool, overwrite: bool, rebuild: bool) -> Iterator[Draft]:
        """Does what `publish` does on an object store."""
        start = time.monotonic()
        self.recover_replacement()
        self._check_not_published(overwrite=overwrite, rebuild=rebuild)
        directory = self.rebuild_directory if rebuild else self.draft_directory
        directory.mkdir(parents=True, exist_ok=True)
        writer = object_drafts.open_draft(
            directory, self._identity(), resume=resume, overwrite=overwrite, rebuild=rebuild
        )
        draft = Draft(directory)
        yield draft
        outputs = object_drafts.collect_outputs(directory)
        manifest = self._describe(draft, outputs, start=start)
        object_drafts.check_writer(directory, writer)
        files.write_durably(directory / MANIFEST, manifest.to_json())
        if rebuild:
            self.recover_replacement()
        else:
            # Kept until now, so that the work can be resumed if publishing fails.
            (directory / PLAN).unlink()

    def _check_not_published(self, *, overwrite: bool, rebuild: bool) -> None:
        """Checks that the directory does not hold what is to be published, or may be replaced.

        Raises:
          ConfigError: the directory holds something that is not to be replaced.
          WorkError: another process has published the artifact since the caller checked.
        """
        if not rebuild and self.is_up_to_date(overwrite=overwrite):
            raise WorkError(
                f"another process has just published {self.directory}; it is up to date"
            )
        if rebuild and self.directory.exists():
            self._check_replaceable()

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
        names = {MANIFEST, PLAN, _REPLACEMENT_MARK, *(manifest.outputs if manifest else ())}
        known = {self.directory / name for name in names}
        # A directory is empty if its files have been lost.
        folders = {parent for path in known for parent in path.parents}
        others = sorted(
            path
            for path in files.leaves(self.directory) - known
            if path not in folders or os.path.islink(path)
            if not (files.is_remote(path) and object_drafts.is_intermediate(path, self.directory))
        )
        if others:
            more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
            raise ConfigError(
                f"{self.directory} is not replaced, because it holds files that are not part of "
                f"its artifact: {others[0]}{more}; move them away, or choose a new directory"
            )

    def _open_draft(self, *, resume: bool, overwrite: bool, rebuild: bool) -> None:
        """Prepares the draft: keeps its files if they are to be resumed, removes them otherwise."""
        directory, requested = self.draft_directory, self._identity()
        if drafts.can_resume(
            directory,
            drafts.read_plan(directory),
            requested,
            resume=resume,
            overwrite=overwrite,
            rebuild=rebuild,
        ):
            drafts.discard_remains(directory)
            return
        for child in directory.iterdir():
            child.rmtree() if child.is_dir() and not os.path.islink(child) else child.unlink()
        with atomic_write(directory / PLAN) as temporary:
            files.write_durably(temporary, json.dumps(requested, indent=2))

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

    def _describe(self, draft: Draft, outputs: Iterable[epath.Path], *, start: float) -> Manifest:
        """The manifest of a finished draft.

        Args:
          draft: the draft.
          outputs: the files to publish.
          start: when the work began, in monotonic seconds.
        """
        return Manifest(
            format_version=FORMAT_VERSION,
            stage=self.stage,
            config=dict(self.config),
            inputs=describe_inputs(self.inputs, directory=self.directory),
            outputs=describe_outputs(
                outputs,
                directory=draft.path,
                volatile_prefixes=self.volatile_prefixes,
                known=draft.outputs,
            ),
            counts=draft.counts,
            notes=draft.notes,
            versions=package_versions(),
            wall_seconds=round(time.monotonic() - start, 3),
        )


@contextlib.contextmanager
def atomic_write(path: epath.PathLike) -> Iterator[epath.Path]:
    """Yields a path to write a file at, which becomes `path` if the body succeeds.

    For files that several workers may write at once, or that are replaced while others read them.
    If `path` is local, the yielded one is next to it and renamed. If it is in a bucket, the yielded
    one is a temporary local file that `local_files.written_locally` uploads at the end.
    """
    path = epath.Path(path)
    if files.is_remote(path):
        with local_files.written_locally(path) as local:
            yield local
        return
    temporary = path.parent / f"{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

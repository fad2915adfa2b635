"""Drafts on object stores: directories in which files are written at their final keys.

An object store cannot rename a directory: it can only copy each object and delete the original,
one by one. So the files are written where they stay, and `manifest.json` is written last; readers
refuse the directory until then. `plan.json` says what unfinished work the directory holds. Besides
the identity of the work, it names its writer, since there are no locks, and it says whether the
files of earlier work are still being removed.

Only work that needs the published artifact until its end is written beside it, in a draft, which
`replace` copies.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from components.base import drafts, files, local_files
from components.base.drafts import PLAN
from components.base.errors import WorkError
from components.base.manifest import MANIFEST, Artifact, read_manifest

# Fields of a plan file. No setting has a name like them.
_WRITER = "written by"
_IS_CLEARED = "is being cleared"
# The names of directories for intermediate files, where a lost worker may write at any time.
_WORK_DIRECTORY = re.compile(r"work-[0-9a-f]{32}")


def open_draft(
    directory: epath.Path,
    identity: Mapping[str, Any],
    *,
    resume: bool,
    overwrite: bool,
    rebuild: bool,
) -> str:
    """Prepares a draft: keeps its files if they are to be resumed, removes them otherwise.

    If the directory holds an artifact, the caller has checked that it may be replaced. Its manifest
    is removed first, so that nobody reads a part of it.

    Args:
      directory: the draft.
      identity: the identity of the work to do.
      resume, overwrite, rebuild: see `ArtifactPlan.publish`.

    Returns:
      The name of this writer.

    Raises:
      ConfigError: the directory holds other work, which is not to be lost.
    """
    existing = read_identity(directory)
    if existing is None or not drafts.can_resume(
        directory, existing, identity, resume=resume, overwrite=overwrite, rebuild=rebuild
    ):
        _clear(directory, identity)
    writer = uuid.uuid4().hex
    _write_plan(directory, {**identity, _WRITER: writer})
    return writer


def read_identity(directory: epath.Path) -> dict[str, Any] | None:
    """The identity of the work in a draft: empty if it has no plan file.

    None for files that are being removed, or that are an artifact: they are not work to resume or
    to protect.

    Raises:
      ConfigError: the plan file is damaged.
    """
    plan = drafts.read_plan(directory)
    plan.pop(_WRITER, None)
    is_cleared = plan.pop(_IS_CLEARED, False)
    return None if is_cleared or (directory / MANIFEST).exists() else plan


def check_writer(directory: epath.Path, writer: str) -> None:
    """Checks that no other process has begun to write a draft since this one did.

    Raises:
      WorkError: one has.
    """
    if drafts.read_plan(directory).get(_WRITER) != writer:
        raise WorkError(
            f"another process has begun to write {directory} after this one, which has published "
            "nothing; run one command at a time for a directory of an object store"
        )


def collect_outputs(directory: epath.Path) -> Iterator[epath.Path]:
    """Yields the outputs in a draft; removes what lost workers have left in its work directories.

    A local directory that has been removed stays removed. Here, writing a file brings it back.
    """
    outputs = files.leaves(directory) - {directory / PLAN}
    remains = {path for path in outputs if is_intermediate(path, directory)}
    files.remove_all(remains)
    yield from sorted(outputs - remains)


def is_intermediate(path: epath.Path, directory: epath.Path) -> bool:
    """Whether a file of an artifact or draft is in a work directory, and so is not an output."""
    return _WORK_DIRECTORY.fullmatch(path.relative_to(directory).parts[0]) is not None


def replace(directory: epath.Path, draft: epath.Path) -> None:
    """Replaces the artifact in a directory by that in a draft, by copying its files.

    If it is interrupted, it can be done again as long as the draft has a manifest.

    Args:
      directory: where to publish. The caller has checked that all files in it may be removed.
      draft: a draft with a manifest.

    Raises:
      WorkError: a file of the draft is missing.
    """
    manifest = read_manifest(draft)
    assert manifest is not None
    text = (draft / MANIFEST).read_text()
    target = directory / MANIFEST
    if not target.exists() or target.read_text() != text:
        target.unlink(missing_ok=True)
        names = manifest.outputs.keys()
        files.remove_all(
            path for path in files.walk_files(directory) if _name(path, directory) not in names
        )
        for path in sorted(files.leaves(draft) - {draft / MANIFEST, draft / PLAN}):
            local_files.copy(path, directory / _name(path, draft))
        Artifact(directory, manifest).check_sizes()
        files.write_durably(target, text)
    _remove(draft)


def finish_removal(draft: epath.Path) -> None:
    """Removes a draft if its removal was interrupted."""
    if drafts.read_plan(draft).get(_IS_CLEARED):
        _remove(draft)


def _remove(draft: epath.Path) -> None:
    _clear(draft, drafts.read_plan(draft))
    draft.rmtree()


def _name(path: epath.Path, directory: epath.Path) -> str:
    return path.relative_to(directory).as_posix()


def _clear(directory: epath.Path, identity: Mapping[str, Any]) -> None:
    """Removes everything in a directory but the plan file, which records that until the end."""
    if not files.leaves(directory):
        return
    _write_plan(directory, {**identity, _IS_CLEARED: True})
    (directory / MANIFEST).unlink(missing_ok=True)
    files.remove_all(files.leaves(directory) - {directory / PLAN})
    for path in files.entries(directory):
        if path.is_dir():
            path.rmtree(missing_ok=True)  # TensorFlow marks directories by objects.


def _write_plan(directory: epath.Path, plan: Mapping[str, Any]) -> None:
    files.write_durably(directory / PLAN, json.dumps(plan, indent=2))

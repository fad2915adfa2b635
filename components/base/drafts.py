"""Drafts: directories with the unfinished work of a stage, and `plan.json`, which says what work.

A draft holds the outputs so far. A later run with the same plan may continue with them.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from components.base import files, json_types
from components.base.errors import ConfigError
from components.base.manifest import MANIFEST, OutputRecord, differences

PLAN = "plan.json"
TEMPORARY_SUFFIX = ".tmp"
# The names of `atomic_write`. Other files that end like them are the user's.
_TEMPORARY = re.compile(rf".*\.[0-9a-f]{{32}}{re.escape(TEMPORARY_SUFFIX)}", re.S)
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


def read_plan(directory: epath.Path) -> dict[str, Any]:
    """The content of the plan file of a draft; empty if there is none.

    Raises:
      ConfigError: the file is damaged.
    """
    path = directory / PLAN
    if not path.exists():
        return {}
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


def check_finished(directory: epath.Path) -> None:
    """Checks that a directory is not a draft, before all files in it are read as inputs.

    Only on an object store does a draft have the name of the artifact to come.

    Raises:
      ConfigError: it is one.
    """
    is_draft = files.is_remote(directory) and (directory / PLAN).exists()
    if is_draft and not (directory / MANIFEST).exists():
        raise ConfigError(
            f"{directory} is not finished: it has {PLAN}, but no {MANIFEST}; run the command that "
            "writes it again"
        )


def can_resume(
    directory: epath.Path,
    existing: Mapping[str, Any],
    requested: Mapping[str, Any],
    *,
    resume: bool,
    overwrite: bool,
    rebuild: bool,
) -> bool:
    """Whether the work in a draft is to be continued; otherwise nothing in it is to be kept.

    Args:
      directory: the draft.
      existing: the identity of the work in it, from its plan file; empty if it has none.
      requested: the identity of the work to do.
      resume, overwrite, rebuild: see `ArtifactPlan.publish`.

    Raises:
      ConfigError: the directory holds something else, which is not to be lost.
    """
    children = files.entries(directory)
    if not existing and any(not _TEMPORARY.fullmatch(path.name) for path in children):
        raise ConfigError(
            f"{directory} is in the way and is not a draft of this pipeline (it has no {PLAN}); "
            "move it away"
        )
    if existing and existing["stage"] != requested["stage"]:
        raise ConfigError(
            f"{directory} holds an unfinished artifact of the {existing['stage']} stage, which "
            f"the {requested['stage']} stage never discards; choose a new directory"
        )
    differing = differences(existing, requested)
    is_other = bool(existing and differing and resume and not overwrite)
    # If the work failed before its first file, there is nothing to lose.
    if is_other and any(path.name != PLAN for path in files.leaves(directory)):
        raise ConfigError(
            f"{directory} holds a different, unfinished artifact: "
            f"{'; '.join(differing)}; choose a new directory, or "
            # With `rebuild`, --overwrite would replace the artifact that is kept until the end.
            + ("delete this one" if rebuild else "discard it with --overwrite")
        )
    return resume and not differing


def discard_remains(directory: epath.Path) -> None:
    """Removes what an interrupted run left in a draft and no later run can use.

    Raises:
      ConfigError: there is a link in it, which no work has.
    """
    # Outputs would be written to the target of the link, and could not be published.
    if links := sorted(filter(os.path.islink, files.leaves(directory))):
        raise ConfigError(
            f"{links[0]} is a link, which no unfinished work has; move it away, and run the same "
            "command again"
        )
    for path in files.walk_files(directory):
        # Not the manifests of artifacts that are part of the work.
        if path == directory / MANIFEST or _TEMPORARY.fullmatch(path.name):
            path.unlink()


def collect_outputs(directory: epath.Path) -> Iterator[epath.Path]:
    """Yields the outputs in a draft; deletes temporary files and empty directories."""
    for path in files.walk_files(directory):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink()  # Left by a worker that was killed; another worker did its task.
    # No manifest lists one, so it would look like the user's, and never be replaced.
    files.remove_empty_directories(directory)
    yield from sorted(files.leaves(directory) - {directory / PLAN})

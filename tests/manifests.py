"""Changes to the manifests of artifacts, as somebody could make who knows how they are written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.base.manifest import content_digest


def edit_manifest(directory: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Changes the JSON value of a manifest in place, and gives it the digest of the new content."""
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["digest"]
    edit(manifest)
    path.write_text(json.dumps({**manifest, "digest": content_digest(manifest)}))

"""An object store in memory, which epath uses for s3:// through fsspec.

An object appears whole when it is closed. There are no directories, no locks and no renames, and
nothing is copied within the store.
"""

import io
import threading
from typing import Any

import fsspec
import pytest
from etils.epath import backend, gpath


class Killed(BaseException):
    """The process has been killed: it changes nothing any more."""


class ObjectStore(fsspec.AbstractFileSystem):
    """A file system of fsspec.

    Attributes:
      objects: the content of each object by its key, which begins with the bucket.
      changes: the kind (PUT or DELETE) and the key of each change so far.
      lives_for: number of changes after which every further one raises `Killed`; None for never.
    """

    protocol = "s3"
    cachable = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.objects: dict[str, bytes] = {}
        self.changes: list[tuple[str, str]] = []
        self.lives_for: int | None = None
        self._changing = threading.Lock()

    def change(self, kind: str, key: str, content: bytes = b"") -> None:
        """Writes or deletes an object."""
        with self._changing:
            if self.lives_for is not None and len(self.changes) >= self.lives_for:
                raise Killed
            self.changes.append((kind, key))
            if kind == "PUT":
                self.objects[key] = content
            elif self.objects.pop(key, None) is None:
                raise FileNotFoundError(key)

    def below(self, directory: str) -> dict[str, bytes]:
        """The objects below a directory, by the rest of their keys."""
        prefix = self._strip_protocol(directory) + "/"
        return {
            key.removeprefix(prefix): content
            for key, content in self.objects.items()
            if key.startswith(prefix)
        }

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        path = self._strip_protocol(path)
        found: dict[str, dict[str, Any]] = {}
        if path in self.objects:
            found[path] = self._describe(path)
        for name in self.below(path):
            child = f"{path}/{name.split('/')[0]}"
            found[child] = self._describe(child)
        if not found:
            raise FileNotFoundError(path)
        return list(found.values()) if detail else list(found)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if path not in self.objects and not self.below(path):
            raise FileNotFoundError(path)
        return self._describe(path)

    def _describe(self, key: str) -> dict[str, Any]:
        if key in self.objects:
            return {"name": key, "size": len(self.objects[key]), "type": "file"}
        return {"name": key, "size": 0, "type": "directory"}

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        if mode == "rb":
            if path not in self.objects:
                raise FileNotFoundError(path)
            return io.BytesIO(self.objects[path])
        assert mode == "wb", f"objects are written from the beginning to the end, not {mode}"
        return _NewObject(self, path)

    def rm_file(self, path: str) -> None:
        self.change("DELETE", self._strip_protocol(path))

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        path = self._strip_protocol(path)
        keys = [key for key in self.objects if key == path or key.startswith(f"{path}/")]
        if not keys:
            raise FileNotFoundError(path)
        assert recursive or keys == [path]
        for key in keys:
            self.change("DELETE", key)

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        pass

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        pass

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        raise AssertionError(f"an object is copied: {path1} to {path2}")


class _NewObject(io.BytesIO):
    """An object that is written, which appears when it is closed."""

    def __init__(self, store: ObjectStore, key: str):
        super().__init__()
        self._store, self._key = store, key

    def close(self) -> None:
        if not self.closed:
            content = self.getvalue()
            super().close()
            self._store.change("PUT", self._key, content)


@pytest.fixture
def object_store(monkeypatch) -> ObjectStore:
    """The store that s3:// leads to."""
    store = ObjectStore()
    # What EPATH_USE_TF=false means, which epath reads once.
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    monkeypatch.setattr(backend.fsspec_backend, "_get_filesystem", lambda name: store)
    return store

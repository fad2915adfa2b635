"""Infers the layout of a folder of images from the names of the folders that hold images.

It is inferred once, before any work. An ambiguous folder is an error that names the option to
resolve it: a wrong guess would put test images into train, or masks among the photos.
"""

import collections
import dataclasses
import itertools
from collections.abc import Collection, Iterable, Sequence

from components.base.errors import ConfigError
from components.sources.folder_layout import FolderLayout, without_general_ending
from components.sources.folder_names import Folder, listed, path_of
from components.sources.split_folders import find_splits
from components.sources.split_names import is_generic
from components.sources.split_option import check_no_splits_below, suggest

_IMAGE_FOLDERS = {
    *("image", "images", "img", "imgs", "jpegimages", "photo", "photos", "picture", "pictures"),
    *("input", "inputs", "original", "originals", "rgb"),
}
_MASK_FOLDERS = {
    *("mask", "masks", "label", "labels", "annotation", "annotations", "gt", "ground_truth"),
    *("groundtruth", "ground-truth", "ground truth", "segmentation", "segmentations"),
    *("segmentationclass", "segmentationobject", "seg", "target", "targets", "output", "outputs"),
}


def infer(
    folders: Iterable[Folder],
    *,
    roots: tuple[tuple[Folder, str], ...] = (),
    label_depth: int | None = None,
) -> FolderLayout:
    """Infers the layout of a dataset.

    Args:
      folders: the folders that hold images; if there are none, the layout is that of one split
        without classes.
      roots: the folders of the splits, if the user named them.
      label_depth: the level below the split that is the class, if the user set it; 0 for no
        classes.

    Raises:
      ConfigError: the folders may be read in several ways, or do not match `roots` or
        `label_depth`.
    """
    folders = sorted(set(folders))
    if not folders and not roots:
        return FolderLayout()
    if roots:
        layout = FolderLayout(roots=roots)
        _check_roots(layout, folders)
        folders = [folder for folder in folders if layout.locate(folder)[0]]
        if label_depth is None:
            check_no_splits_below(roots, folders)
    else:
        layout = find_splits(folders)
    located = {layout.locate(folder) for folder in folders}
    if label_depth is not None:
        _check_label_depth(label_depth, [path for _, path in located])
        return dataclasses.replace(layout, label_depth=label_depth)
    _check_masks(layout, folders)
    return _with_classes(layout, located)


def _check_roots(layout: FolderLayout, folders: Sequence[Folder]) -> None:
    for root, split in layout.roots:
        if not any(
            folder[: len(root)] == root and layout.locate(folder)[0] == split for folder in folders
        ):
            raise ConfigError(
                f"--splits: no images in {path_of(root)} for {split}; folders with images: "
                f"{listed(folders) or 'none'}"
            )


def _check_label_depth(depth: int, paths: Collection[Folder]) -> None:
    deepest = max(map(len, paths), default=0)
    if depth > deepest:
        raise ConfigError(
            f"--label_depth {depth}: images are at most {deepest} folders below their split; "
            f"choose 0 to {deepest}"
        )


def _check_masks(layout: FolderLayout, folders: Iterable[Folder]) -> None:
    """Raises ConfigError if masks would become images of a class of their own."""
    if any(not root for root, _ in layout.roots):
        return  # `--splits train=.` says that all folders are classes.
    settled = "--label_depth N" if layout.has_splits else "--splits train=."
    for parent, names in sorted(_children(folders).items()):
        masks = sorted(name for name in names if name.lower() in _MASK_FOLDERS)
        images = sorted(name for name in names if name.lower() in _IMAGE_FOLDERS)
        if masks and images:
            found, beside = (path_of((*parent, names[0])) for names in (masks, images))
            raise ConfigError(
                f"{found} beside {beside} seems to hold masks or other targets; to leave it out, "
                "name the folders to read, as in "
                f"--splits {suggest((*parent, images[0]), folders)}; if both are classes, use "
                f"{settled}"
            )


def _with_classes(
    layout: FolderLayout, located: Collection[tuple[str | None, Folder]]
) -> FolderLayout:
    """Finds the levels that are the classes.

    Args:
      layout: the layout of the splits.
      located: the split of each folder with images, and its path without the levels of the splits.
    """
    # For each name, the names beside it in the same split.
    siblings: dict[str, set[str]] = collections.defaultdict(set)
    for names in _children((split or "", *path) for split, path in located).values():
        for name in names:
            siblings[name] |= names
    general = frozenset(
        name for name, names in siblings.items() if names == {name} and is_generic(name)
    )
    paths = {without_general_ending(path, general) for _, path in located} - {()}
    last_levels = collections.Counter(path[-1] for path in paths)
    if max(last_levels.values(), default=1) == 1:
        return dataclasses.replace(layout, general=general)
    # The class of a path may be all of it, so that no path loses its last level.
    common = _common_levels([path[:-1] for path in paths])
    return dataclasses.replace(layout, general=general, full_paths=True, common=common)


def _common_levels(paths: Collection[Folder]) -> Folder:
    """The outermost levels that all paths share."""
    # These are the levels that the first and the last path in order share.
    pairs = zip(min(paths), max(paths), strict=False)
    return tuple(one for one, other in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _children(folders: Iterable[Folder]) -> dict[Folder, set[str]]:
    """The names in each folder that lead to one of these folders."""
    children = collections.defaultdict(set)
    for folder in folders:
        for level, name in enumerate(folder):
            children[folder[:level]].add(name)
    return children

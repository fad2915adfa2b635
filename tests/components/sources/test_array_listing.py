import numpy as np
import pytest
from etils import epath

from components.base.errors import ConfigError
from components.sources.array_listing import (
    enumerate_names,
    find_arrays,
    holds_arrays_itself,
    is_numpy,
)


def write(root, *names: str) -> epath.Path:
    """Writes files: arrays, archives with the arrays in brackets, and others."""
    for name in names:
        file, _, arrays = name.partition("[")
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, np.zeros(2))
        elif path.suffix == ".npz":
            np.savez(path, **{array: np.zeros(2) for array in arrays.strip("]").split(",")})
        else:
            path.touch()
    return epath.Path(root)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["x.npy"], True),
        (["x.npy", "1.png"], True),  # The registry asks what is meant.
        (["a.npz[x]"], True),
        (["a.npz[x]", "README.md"], True),
        (["a.npz[x]", "1.png"], False),
        (["a.npz[x]", "cat/1.png"], False),
        (["train.npz[x]", "test.npz[x]", "train/x.npy"], True),
        (["train/x.npy", "test/x.npy"], True),
        (["train/x.npy", "test/a.npz[x]", "test/notes.txt"], True),
        (["train/cat/x.npy"], False),
        (["train/x.npy", "test/1.png"], True),
        (["train/1.png", "train/x.npy"], False),
        (["cat/x.npy"], False),
        ([".x.npy", "train/.x.npy"], False),
        (["1.png"], False),
    ],
)
def test_folders_of_arrays_are_recognized(tmp_path, names, expected):
    folder = write(tmp_path, *names)
    assert is_numpy(folder) == expected
    if expected:
        assert holds_arrays_itself(folder) == ("/" not in names[0])


def test_files_are_recognized_by_their_extension(tmp_path):
    assert is_numpy(write(tmp_path, "x.npy") / "x.npy")
    assert is_numpy(tmp_path / "a.npz")
    assert not is_numpy(epath.Path(tmp_path / "photo.png"))


@pytest.mark.parametrize(
    ("names", "path", "labels"),
    [
        (["a.npz[x,y]"], "a.npz", ["x", "y"]),
        (["a.npz[x,y]"], "", ["x", "y"]),
        (["x.npy", "y.npy", ".z.npy"], "", ["x", "y"]),
        (["a.npz[x]", "b.npz[x]"], "", ["a.npz: x", "b.npz: x"]),
        (["a.npz[x]", "b.npy"], "", ["a.npz: x", "b"]),
        (["train/x.npy", "val/a.npz[x]"], "", ["train/x", "val/a.npz: x"]),
        (["x.npy", "z.npy"], "z.npy", ["z"]),
    ],
)
def test_arrays_are_found_and_labelled(tmp_path, names, path, labels):
    folder = write(tmp_path, *names)
    assert [array.label for array in find_arrays(folder / path if path else folder)] == labels


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        (["k-train-imgs.npz[arr_0]", "k-train-labels.npz[arr_0]"], 0, [0, 1]),
        (["k-train-imgs.npz[arr_0]", "k-train-labels.npz[arr_0]"], 1, [0, 1]),
        (["x.npy", "y.npy", "labels.npy", "data.npy"], 0, [0, 1]),
        (["images.npy", "classes.npy", "split.npy", "test_idx.npy", "mean.npy"], 0, [1, 0, 2, 3]),
        (["images.npy", "k-imgs.npy", "k-labels.npy"], 0, [0]),
        (["images.npy", "k-imgs.npy", "k-labels.npy"], 2, [1, 2]),
        (["k-imgs.npy", "k-fine-labels.npy", "k-split.npy", "j-split.npy"], 1, [1, 0, 2]),
        (["images.npz[arr_0]", "train.npz[x,y]"], 0, [0]),
    ],
)
def test_files_that_belong_together_are_found(tmp_path, names, given, expected):
    folder = write(tmp_path, *names)
    files = [name.partition("[")[0] for name in names]
    found = [array.path.name for array in find_arrays(folder / files[given])]
    assert found == [files[place] for place in expected]


def test_a_split_in_the_name_of_an_archive_counts_if_there_are_several(tmp_path):
    folder = write(tmp_path, "my_test.npz[x]", "train.npz[x,x_val]")
    assert [array.name.split for array in find_arrays(folder)] == ["test", "train", "validation"]
    assert [array.name.split for array in find_arrays(folder / "my_test.npz")] == [None]
    write(tmp_path, "holdout.npz[x]")
    with pytest.raises(ConfigError, match=r"holdout.npz: its name does not say to which split"):
        find_arrays(folder)


def test_many_names_are_shortened():
    assert enumerate_names(["a", "b\n"]) == "a, b%0A"
    assert enumerate_names(map(str, range(20)), limit=2) == "0, 1 and 18 more"

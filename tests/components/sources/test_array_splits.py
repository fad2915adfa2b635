import pickle

import numpy as np
import pytest
from etils import epath

from components.base.errors import ConfigError
from components.sources.array_splits import SelectedArray, SplitArrays
from components.sources.array_views import ArrangedArray
from components.sources.layout import AxisLayout
from components.sources.npy_header import read_header


def stored(tmp_path, name: str, values: object):
    np.save(tmp_path / f"{name}.npy", np.asarray(values))
    return read_header(epath.Path(tmp_path / f"{name}.npy"), "", sliced=True)


def by_split(arrays: SplitArrays) -> dict[str, list[int]]:
    return {split: rows.tolist() for split, rows in arrays.by_split().items()}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["train", "test", "train"], {"train": [0, 2], "test": [1]}),
        (["Training", "VAL", "train"], {"train": [0, 2], "validation": [1]}),
        ([b"test ", b"test", b"dev"], {"validation": [2], "test": [0, 1]}),
        ([0, 0, 0, 2, 1], {"train": [0, 1, 2], "validation": [4], "test": [3]}),
        ([[0], [0], [1], [2]], {"train": [0, 1], "validation": [2], "test": [3]}),
    ],
)
def test_a_column_names_the_split_of_each_image(tmp_path, values, expected):
    column = stored(tmp_path, "split", values)
    assert by_split(SplitArrays(len(values), column)) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1, 1, 0], "its values 0, 1 may mean any split"),
        ([2, 2, 0, 1], "its values 0, 1, 2 may mean any split"),
        ([0, 1, 2, 3], "its values 0, 1, 2, 3 may"),
        ([True, False, True, True], "its values False, True may"),
        ([0.5, 1, 1, 1], "0.5, 1.0 may"),
        (["train", "Public", "a\nb", "test"], "its values Public, a%0Ab may"),
        (["train", "holdout", "test", "test"], "its values holdout may"),
        (["train", "test"], "it has 2 values, while there are 4 images"),
    ],
)
def test_an_unclear_column_is_refused_in_one_line(tmp_path, values, message):
    column = stored(tmp_path, "split", values)
    with pytest.raises(ConfigError, match=message) as caught:
        SplitArrays(4, column).by_split()
    assert str(caught.value).startswith(f"{tmp_path}/split.npy may say which images belong to the")
    assert "train_idx" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values_by_split", "expected"),
    [
        ({"train": [4, 0, 2], "test": [1, 3]}, {"train": [0, 2, 4], "test": [1, 3]}),
        ({"test": [1, 3]}, {"train": [0, 2, 4], "test": [1, 3]}),
        ({"train": [4], "validation": [0]}, {"train": [4], "validation": [0]}),
        ({"test": [False, True, False, True, False]}, {"train": [0, 2, 4], "test": [1, 3]}),
        ({"train": [1, 1, 1, 0, 0], "test": [0, 0, 0, 1, 1]}, {"train": [0, 1, 2], "test": [3, 4]}),
        ({"train": np.arange(5), "test": np.zeros(0, int)}, {"train": [0, 1, 2, 3, 4]}),
        ({"train": [[0], [1]], "test": [[2]]}, {"train": [0, 1], "test": [2]}),
    ],
)
def test_rows_and_masks_are_read(tmp_path, values_by_split, expected):
    rows = tuple(
        (split, stored(tmp_path, split, values)) for split, values in values_by_split.items()
    )
    assert by_split(SplitArrays(5, rows=rows)) == expected


@pytest.mark.parametrize(
    ("values_by_split", "message"),
    [
        (
            {"train": [1, 2, 3], "test": [4, 5]},
            "test.npy .* row numbers are 4 to 5, not from 0 to 4",
        ),
        ({"test": [-1]}, "row numbers are -1 to -1"),
        ({"test": [1, 1]}, "some of its row numbers occur twice"),
        ({"train": [0, 1], "test": [1, 2]}, "test.npy .* some of its rows belong to another split"),
        ({"test": [0.5]}, "it holds float64 values, not row numbers"),
        ({"test": ["a"]}, "it holds str32 values"),
        ({"test": [True, False]}, "it is a mask of 2, while there are 5 images"),
    ],
)
def test_rows_that_cannot_be_followed_are_refused_in_one_line(tmp_path, values_by_split, message):
    rows = tuple(
        (split, stored(tmp_path, split, values)) for split, values in values_by_split.items()
    )
    with pytest.raises(ConfigError, match=message) as caught:
        SplitArrays(5, rows=rows).by_split()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", [None, "HWN"])
def test_a_split_of_an_array_is_read_in_any_slice(tmp_path, layout):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 4, 3), np.uint8)
    column = rng.permutation(["train"] * 30 + ["test"] * 20)
    arrays = SplitArrays(50, stored(tmp_path, "split", column))
    if layout is None:
        array = stored(tmp_path, "x", images)
    else:
        moved = stored(tmp_path, "x", np.ascontiguousarray(np.moveaxis(images, 0, 2)))
        array = ArrangedArray(moved, AxisLayout.parse(layout))
    for split in ("train", "test"):
        expected = images[column == split]
        selected = pickle.loads(pickle.dumps(SelectedArray(array, arrays, split)))
        assert (selected.shape, selected.dtype) == (expected.shape, np.uint8)
        assert (selected.name, selected.path) == (array.name, array.path)
        assert selected.row_bytes == 12
        for first, count in ((0, len(expected)), (3, 5), (7, 1)):
            if not selected.seekable and (first, count) != (0, len(expected)):
                continue
            parts = list(selected.batches(first, count, 4))
            assert max(map(len, parts)) <= 4
            np.testing.assert_array_equal(np.concatenate(parts), expected[first : first + count])
        assert list(selected.batches(0, 0, 4)) == []

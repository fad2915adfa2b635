import numpy as np
import pytest
from etils import epath

from components.sources.array_file import StoredArray
from components.sources.array_views import ArrangedArray
from components.sources.layout import AxisLayout


@pytest.mark.parametrize("layout", ["NWH", "WHN", "HNW"])
def test_an_arranged_array_has_the_usual_order(tmp_path, layout):
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 7), np.uint8)
    stored = images.transpose(["NHW".index(axis) for axis in layout])
    (tmp_path / "a").write_bytes(stored.tobytes())
    array = ArrangedArray(
        StoredArray("a", epath.Path(tmp_path / "a"), "", stored.shape, images.dtype, 0, True),
        AxisLayout.parse(layout),
    )
    assert (array.shape, array.rows, array.row_bytes) == ((50, 6, 7), 50, 42)
    assert array.seekable == (layout[0] == "N")
    assert (array.name, array.path.name, array.member, array.dtype) == ("a", "a", "", np.uint8)
    batches = list(array.batches(0, 50, 20))
    assert [len(batch) for batch in batches] == [20, 20, 10]
    np.testing.assert_array_equal(np.concatenate(batches), images)

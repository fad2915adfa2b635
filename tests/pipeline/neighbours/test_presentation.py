import json

import numpy as np
import pytest

from components.base.errors import WorkError
from pipeline.neighbours.presentation import records, shown, table, tiles
from pipeline.neighbours.searches import Match, SearchResult
from pipeline.neighbours.tables import EmbeddingRows
from tests.pipeline.neighbours.written_tables import normal, png, write_tables


def match(row: int | None, distance: float, **values) -> Match:
    return Match({"distance": distance, "id": f"id{row}", **values}, row)


def grouped(*sizes: int) -> SearchResult:
    groups = [
        [match(10 * at + row, at / 4) for row in range(size)] for at, size in enumerate(sizes)
    ]
    return SearchResult("near duplicates", "a summary", "distance", groups, is_grouped=True)


def test_a_table_has_a_line_for_each_row_and_a_summary():
    found = SearchResult(
        "neighbors",
        "2 neighbors",
        "distance",
        [[Match({"id": "photo.png", "distance": 0.0}, None), match(3, 1.23456, label=None)]],
    )
    assert table(found, 10).split("\n") == [
        "id         distance  label",
        "photo.png  0         -",
        "id3        1.235     -",
        "2 neighbors",
    ]


def test_a_table_of_nothing_is_its_summary():
    assert table(grouped(), 10) == "a summary"


def test_people_see_the_first_groups_and_the_first_rows_of_them():
    found = grouped(2, 40, 3)
    assert [len(group) for group in shown(found, 2)] == [2, 12]
    text = table(found, 2)
    assert text.splitlines()[1].startswith("1      0         id0")
    assert len(text.splitlines()) == 1 + 2 + 12 + 1
    assert text.endswith("a summary; the 2 nearest groups are shown, with at most 12 rows")
    assert len(list(records(found))) == 45
    assert table(grouped(2, 3), 2).endswith("a summary")


def test_control_characters_of_ids_are_visible():
    found = SearchResult("a", "b", "distance", [[match(1, 0.0, label_name="\x1b[31mred\nline")]])
    assert "\x1b" not in table(found, 10)
    assert r"\x1b[31mred\nline" in table(found, 10)


def test_records_are_json_without_numbers_that_json_lacks():
    found = SearchResult("a", "b", "distance", [[match(1, 0.5, rate=float("nan"))]])
    assert list(records(found)) == [{"distance": 0.5, "id": "id1", "rate": None}]
    json.dumps(list(records(grouped(2))), allow_nan=False)
    assert [record["group"] for record in records(grouped(2, 1))] == [1, 1, 2]


def test_tiles_have_the_images_of_the_tables_and_that_of_the_query(tmp_path):
    images = [png(number) for number in range(5)]
    rows = EmbeddingRows.open(write_tables(tmp_path / "out", normal(5), image=images))
    pixels = np.full((8, 8, 1), 7, np.uint8)
    query = Match({"id": "photo.png", "distance": 0.0}, None, pixels)
    named = [match(row, 0.25, label_name=name) for row, name in ((4, "bag"), (1, "袋"))]
    named[1].values["label"] = 6
    ((own, first, second),) = tiles(SearchResult("", "", "distance", [[query, *named]]), 10, rows)
    np.testing.assert_array_equal(own.pixels, pixels)
    assert own.caption == ("photo.png", "d 0")
    assert first.caption == ("bag", "d 0.25")
    assert second.caption == ("class 6", "d 0.25")
    for tile, number in ((first, 4), (second, 1)):
        expected = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
        np.testing.assert_array_equal(tile.pixels[..., 0], expected)


@pytest.mark.parametrize("image", [b"no image", None])
def test_an_image_that_cannot_be_decoded_is_explained(tmp_path, image):
    rows = EmbeddingRows.open(write_tables(tmp_path / "out", normal(2), image=[png(0), image]))
    found = SearchResult("", "", "distance", [[match(1, 0.0)]])
    with pytest.raises(WorkError, match=r"the image of row 1 of .* cannot be shown"):
        tiles(found, 10, rows)

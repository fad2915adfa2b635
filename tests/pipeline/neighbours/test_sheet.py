import numpy as np
from PIL import Image

from pipeline.neighbours.sheet import CaptionedImage, draw
from tests.components.ingest.test_contact_sheet import enlarged, find

RNG = np.random.default_rng(0)


def noise(channels: int = 1) -> np.ndarray:
    return RNG.integers(0, 256, (28, 28, channels), np.uint8)


def drawn(path, groups, **texts) -> np.ndarray:
    draw(path, groups, **{"title": "a title", "subtitle": "what it is", **texts})
    with Image.open(path) as picture:
        return np.array(picture)


def test_every_group_begins_a_new_row_and_long_groups_are_wrapped(tmp_path):
    """An image of 28 pixels is drawn three times as large."""
    groups = [[CaptionedImage(noise(), ("a",)) for _ in range(count)] for count in (2, 13, 1)]
    sheet = drawn(tmp_path / "sheet.png", groups)
    places = [[find(enlarged(tile.pixels), sheet) for tile in group] for group in groups]
    assert all(len(place) == 1 for group in places for place in group)
    (first, second, third) = ([place[0] for place in group] for group in places)
    assert first[0][0] == first[1][0]
    assert first[0][1] < first[1][1]
    assert len({y for y, _ in second}) == 2
    assert second[12][1] == first[0][1]
    rows = [first[0][0], second[0][0], second[12][0], third[0][0]]
    assert rows == sorted(set(rows))


def test_captions_are_below_their_images(tmp_path):
    tile = CaptionedImage(noise(), ("Ankle boot", "d 0.5"))
    sheet = drawn(tmp_path / "with.png", [[tile]])
    without = drawn(tmp_path / "without.png", [[CaptionedImage(tile.pixels, ("", ""))]])
    y, x = np.nonzero(sheet != without)
    ((top, left),) = find(enlarged(tile.pixels), sheet)
    assert y.min() > top + 84
    assert x.min() >= left - 2
    assert len(np.unique(y)) > 12


def test_colors_stay_beside_gray_images(tmp_path):
    groups = [[CaptionedImage(noise(3), ("a",)), CaptionedImage(noise(), ("b",))]]
    sheet = drawn(tmp_path / "sheet.png", groups)
    colors, gray = (tile.pixels for tile in groups[0])
    assert len(find(colors.repeat(3, axis=0).repeat(3, axis=1), sheet)) == 1
    shown = enlarged(gray)
    assert len(find(np.repeat(shown[..., np.newaxis], 3, axis=2), sheet)) == 1


def test_equal_arguments_give_equal_bytes_and_any_text_is_drawn(tmp_path):
    groups = [[CaptionedImage(noise(), ("x" * 300, "\udcff\n"))]]
    for name in ("a.png", "b.png"):
        drawn(tmp_path / name, groups, title="t" * 1000, subtitle="line\nbreak")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

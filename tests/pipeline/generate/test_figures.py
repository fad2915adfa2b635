import numpy as np
from etils import epath
from PIL import Image

from components.ingest import image_file
from pipeline.generate import figures, writer
from pipeline.generate.writer import GeneratedImages

SIZE = 8


def written(directory, count, labels=None, names=()) -> GeneratedImages:
    """Images of which number n has the intensity 2 n."""
    (directory / writer.IMAGES).mkdir()
    for number in range(count):
        pixels = np.full((SIZE, SIZE, 1), 2 * number, np.uint8)
        path = writer.path_of(epath.Path(directory), number)
        path.write_bytes(image_file.to_png(pixels))
    return GeneratedImages(None, count, [], labels, names)


def tiles(path, intensities) -> list[tuple[int, int]]:
    """(row, column) of the center of each intensity in a picture."""
    with Image.open(path) as picture:
        pixels = np.array(picture.convert("RGB"))
    places = []
    for value in intensities:
        found = np.argwhere((pixels == value).all(axis=2))
        assert len(found) > SIZE**2, value
        places.append(tuple(found.mean(axis=0).round().astype(int).tolist()))
    return places


def test_a_contact_sheet_shows_the_samples_in_order(tmp_path):
    images = written(tmp_path, 8)
    figures.draw_samples(images, tmp_path, by_class=False, title="t", subtitle="s")
    places = tiles(tmp_path / "contact_sheet.png", range(4, 16, 2))
    assert [y for y, _ in places[:2]] == [places[0][0]] * 2
    assert places[2][0] > places[1][0]


def test_a_contact_sheet_has_a_row_for_each_class(tmp_path):
    """The labels take turns, and the names 10 and 2 are shown in natural order."""
    labels = np.arange(31) % 3
    images = written(tmp_path, 31, labels, ["10", "2", "a"])
    figures.draw_samples(images, tmp_path, by_class=True, title="t", subtitle="s")
    first, second, third = tiles(tmp_path / "contact_sheet.png", [2 * 10, 2 * 9, 2 * 11])
    assert first[0] < second[0] < third[0]
    assert first[1] == second[1] == third[1]


def test_the_given_images_are_around_those_between_them(tmp_path):
    images = written(tmp_path, 5)
    ends = tuple(np.full((SIZE, SIZE, 1), value, np.uint8) for value in (101, 201))
    figures.draw_interpolation(images, tmp_path, ends=ends, title="t", subtitle="s")
    places = tiles(tmp_path / "interpolation.png", [101, 2, 4, 6, 8, 201])
    assert places == sorted(places, key=lambda place: place[1])
    with Image.open(tmp_path / "interpolation.webp") as animation:
        assert animation.n_frames == 8


def test_a_traversal_has_a_row_for_each_latent(tmp_path):
    written(tmp_path, 12)
    figures.draw_traversal(tmp_path, row_names=["a", "b", "c"], steps=4, title="t", subtitle="s")
    places = tiles(tmp_path / "traversal.png", range(2, 24, 2))
    assert places == sorted(places)
    assert places[0][1] == places[4][1] == places[8][1]
    with Image.open(tmp_path / "traversal.webp") as animation:
        assert animation.n_frames == 6


def test_variations_begin_with_the_original(tmp_path):
    images = written(tmp_path, 7)
    original = np.full((SIZE, SIZE, 1), 99, np.uint8)
    figures.draw_variations(images, tmp_path, original=original, title="t", subtitle="s")
    first, second = tiles(tmp_path / "variations.png", [99, 2])
    assert first[0] == second[0]
    assert first[1] < second[1]

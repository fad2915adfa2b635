import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from components.data.examples import ExampleBatch
from components.ingest import contact_sheet
from components.ingest.contact_sheet import (
    HEIGHT,
    WIDTH,
    choose,
    draw,
    examples_per_class,
)
from components.sources import garments


def noise(num_classes: int, shape=(28, 28, 1), each=4) -> ExampleBatch:
    rng = np.random.default_rng(0)
    labels = np.arange(num_classes * each) % num_classes
    images = rng.integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    return ExampleBatch([str(number) for number in range(len(labels))], images, labels)


def sheet(
    tmp_path, block: ExampleBatch, class_names, title="a title", name="sheet.png"
) -> np.ndarray:
    """The pixels of a sheet drawn of `block`."""
    counts = np.bincount(block.labels, minlength=len(class_names))
    draw(tmp_path / name, block, title=title, class_names=class_names, counts=counts)
    with Image.open(tmp_path / name) as picture:
        assert picture.format == "PNG"
        assert picture.mode == ("L" if block.shape[-1] == 1 else "RGB")
        assert picture.width <= WIDTH
        assert picture.height <= HEIGHT
        return np.array(picture)


def find(image: np.ndarray, picture: np.ndarray) -> list[tuple[int, int]]:
    """The places (y, x) at which an image lies in a picture, pixel by pixel."""
    height, width = image.shape[:2]
    pixels, first_row = picture.tobytes(), image[0].tobytes()
    places, at = [], pixels.find(first_row)
    while at >= 0:
        y, x = divmod(at // picture[0, 0].size, picture.shape[1])
        if np.array_equal(picture[y : y + height, x : x + width], image):
            places.append((y, x))
        at = pixels.find(first_row, at + 1)
    return places


def enlarged(image: np.ndarray, scale: int = 3) -> np.ndarray:
    """A gray image, every pixel a square."""
    return image.squeeze(axis=-1).repeat(scale, axis=0).repeat(scale, axis=1)


def names(count: int) -> list[str]:
    return [f"class {number}" for number in range(count)]


def test_the_first_of_each_class_are_chosen():
    labels = np.array([2, 0, 2, 2, -1, 0, 7, 2])
    chosen = choose(labels, num_classes=4, per_class=3)
    assert [rows.tolist() for rows in chosen] == [[1, 5], [], [0, 2, 3], []]


def test_a_chosen_part_makes_the_same_sheet_as_the_whole(tmp_path):
    block, class_names = noise(10, each=40), names(10)
    chosen = choose(block.labels, num_classes=10, per_class=examples_per_class(10))
    part = block.take(np.sort(np.concatenate(chosen)))
    assert len(part) < len(block)
    for file, examples in (("whole", block), ("part", part)):
        draw(tmp_path / file, examples, title="t", class_names=class_names, counts=[40] * 10)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "part").read_bytes()


def test_each_class_has_its_row_and_its_examples_their_order(tmp_path):
    block = noise(10)
    picture = sheet(tmp_path, block, names(10))
    places = np.array([find(enlarged(image), picture) for image in block.images])
    assert places.shape == (40, 1, 2)
    by_class = places.reshape(4, 10, 2)  # [place in the row, class, (y, x)]
    tops, lefts = by_class[0, :, 0], by_class[:, 0, 1]
    assert (by_class[..., 0] == tops).all()
    assert (by_class[..., 1] == lefts[:, None]).all()
    # Even gutters.
    assert len(set(np.diff(tops))) == len(set(np.diff(lefts))) == 1
    assert np.diff(tops)[0] == np.diff(lefts)[0] > 3 * 28


def test_colours_stay_and_images_of_middling_size_are_left_as_they_are(tmp_path):
    block = noise(3, (64, 50, 3), each=2)
    picture = sheet(tmp_path, block, names(3))
    assert all(len(find(image, picture)) == 1 for image in block.images)


def test_large_images_are_reduced_to_their_mean_colours(tmp_path):
    colors = np.array([[200, 30, 60], [10, 220, 90]], np.uint8)
    images = np.broadcast_to(colors[:, None, None], (2, 300, 200, 3))
    picture = sheet(tmp_path, ExampleBatch(["0", "1"], images, np.array([0, 1])), ["red", "green"])
    for color in colors:
        rows, columns = np.nonzero((picture == color).all(axis=-1))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert (height, width) == (128, 85)
        assert len(rows) == height * width


@pytest.mark.parametrize("count", [1, 2, 5, 20, 21, 47, 100])
def test_every_class_is_shown_however_many(tmp_path, count):
    block = noise(count)
    picture = sheet(tmp_path, block, names(count))
    for image in block.images[:count]:
        assert len(find(enlarged(image), picture)) == 1


def test_few_classes_fill_several_rows(tmp_path):
    block = noise(1, each=200)
    picture = sheet(tmp_path, block, ["all"])
    places = [find(enlarged(image), picture) for image in block.images]
    shown = [place[0] for place in places if place]
    assert shown == [place[0] for place in places[: len(shown)]]
    assert shown == sorted(shown)  # row by row
    assert len({y for y, _ in shown}) == 10
    assert len(shown) % 10 == 0
    assert len(shown) <= examples_per_class(1)


def test_what_does_not_fit_is_left_out_and_counted(tmp_path, monkeypatch):
    texts = drawn_texts(monkeypatch)
    block = noise(1000, (130, 130, 1), each=1)
    sheet(tmp_path, block, names(1000))
    (facts,) = [text for text in texts if "×" in text]
    shown = sum(text.startswith("class") for text in texts)
    assert facts == f"1,000 examples · 130×130×1 · {shown} of 1,000 classes"
    assert 100 < shown < 1000


def drawn_texts(monkeypatch) -> list[str]:
    """Collects the texts that are drawn, while they are."""
    texts, draw_text = [], contact_sheet.ImageDraw.ImageDraw.text

    def text(pen, place, text, *args, **kwargs):
        texts.append(text)
        draw_text(pen, place, text, *args, **kwargs)

    monkeypatch.setattr(contact_sheet.ImageDraw.ImageDraw, "text", text)
    return texts


def test_texts_tell_of_the_split_and_its_classes(tmp_path, monkeypatch):
    texts = drawn_texts(monkeypatch)
    labels = np.array([0, 0, 2])
    block = ExampleBatch(["a", "b", "c"], noise(3, each=1).images, labels)
    draw(
        tmp_path / "sheet.png",
        block,
        title="pets, train",
        class_names=["cat", "dog", "fish"],
        counts=[54000, 0, 1],
    )
    assert texts == [
        "pets, train",
        "54,001 examples · 28×28×1 · 2 of 3 classes",
        *("cat", "54,000", "fish", "1"),
    ]


def test_no_text_touches_another_or_an_image(tmp_path, monkeypatch):
    boxes, draw_text = [], contact_sheet.ImageDraw.ImageDraw.text

    def text(pen, place, text, fill, font, anchor):
        boxes.append(pen.textbbox(place, text, font, anchor))
        draw_text(pen, place, text, fill, font, anchor=anchor)

    monkeypatch.setattr(contact_sheet.ImageDraw.ImageDraw, "text", text)
    for count in (5, 12, 47, 150):
        boxes.clear()
        block = noise(count, each=3)
        long_names = [f"{number} {'a very long name ' * (number % 5)}" for number in range(count)]
        picture = sheet(tmp_path, block, long_names, title="long " * 100)
        places = [find(enlarged(image), picture) for image in block.images]
        boxes += [(x, y, x + 84, y + 84) for place in places for y, x in place]
        left, top, right, bottom = np.array(boxes).T
        apart = (right[:, None] <= left) | (bottom[:, None] <= top)
        assert (apart | apart.T | np.eye(len(boxes), dtype=bool)).all()
        assert left.min() >= 0
        assert top.min() >= 0
        assert right.max() <= picture.shape[1]
        assert bottom.max() <= picture.shape[0]


def test_long_names_end_in_an_ellipsis(tmp_path, monkeypatch):
    texts = drawn_texts(monkeypatch)
    name = "Ailuropoda melanoleuca qinlingensis of the mountains"
    sheet(tmp_path, noise(2), [name, "cat"], title="of " * 200)
    title, _, shortened, *rest = texts
    assert shortened.endswith("…")
    assert name.startswith(shortened[:-1])
    assert len(shortened) > 20
    assert title.endswith("…")
    assert rest[1] == "cat"


def test_any_name_can_be_drawn(tmp_path):
    class_names = ["漢字", "Кошка", "مرحبا", "a\nb\tc", "\x00", "\udcff", "😀", "", "é" * 3000]
    assert sheet(tmp_path, noise(9), class_names, title="two\nlines \udcff").size
    many = class_names * 3
    assert sheet(tmp_path, noise(27), many).size


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (8, 400, 3), (500, 10, 1), (1000, 1, 3), (97, 128, 3), (129, 90, 1)]
)
@pytest.mark.parametrize("count", [2, 30])
def test_images_of_any_shape_stay_within_the_bounds(tmp_path, shape, count):
    assert sheet(tmp_path, noise(count, shape), names(count)).size


def test_of_few_examples_and_of_none_there_is_a_sheet(tmp_path):
    labels = np.arange(5)
    images = garments.draw_garments(labels, np.random.default_rng(0))
    block = ExampleBatch(list("abcde"), images, labels)
    picture = sheet(tmp_path, block, garments.CLASS_NAMES)
    assert all(len(find(enlarged(image), picture)) == 1 for image in images)
    nothing = sheet(tmp_path, block.take(np.arange(0)), garments.CLASS_NAMES)
    assert nothing.size < picture.size


def test_the_same_input_gives_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        sheet(tmp_path, noise(7), names(7), name=name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_drawing_does_not_import_matplotlib(tmp_path):
    code = """
import sys
import numpy as np
from components.ingest import contact_sheet
from components.data.examples import ExampleBatch
block = ExampleBatch(["a"], np.zeros((1, 28, 28, 1), np.uint8), np.zeros(1, np.int64))
contact_sheet.draw(sys.argv[1], block, title="t", class_names=["a"], counts=[1])
print(*sys.modules)
"""
    path = tmp_path / "sheet.png"
    ran = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    assert path.exists()
    assert not {"matplotlib", "tensorflow"} & set(ran.stdout.split())

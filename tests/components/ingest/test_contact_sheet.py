import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from components.data.examples import ExampleBatch
from components.ingest import contact_sheet
from components.ingest.contact_sheet import MAX_CLASSES, choose, draw, examples_per_class
from components.sources import garments

# Of the largest sheet: 20 classes of images with 96 pixels per side.
MAX_WIDTH, MAX_HEIGHT = 1600, 2400


def noise(num_classes: int, shape=(28, 28, 1), examples_each=4) -> ExampleBatch:
    """Random images, one class after the other, again and again."""
    rng = np.random.default_rng(0)
    labels = np.arange(num_classes * examples_each) % num_classes
    images = rng.integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    return ExampleBatch([str(number) for number in range(len(labels))], images, labels)


def draw_sheet(
    tmp_path, examples: ExampleBatch, class_names, title="a title", name="sheet.png"
) -> np.ndarray:
    """The pixels of the sheet of some examples."""
    counts = np.bincount(examples.labels, minlength=len(class_names))
    draw(tmp_path / name, examples, title=title, class_names=class_names, counts=counts)
    with Image.open(tmp_path / name) as picture:
        assert picture.format == "PNG"
        assert picture.mode == ("L" if examples.shape[-1] == 1 else "RGB")
        assert picture.width <= MAX_WIDTH
        assert picture.height <= MAX_HEIGHT
        return np.array(picture)


def find(image: np.ndarray, sheet: np.ndarray) -> list[tuple[int, int]]:
    """The positions (y, x) at which a sheet contains exactly the pixels of an image."""
    height, width = image.shape[:2]
    pixels, first_row = sheet.tobytes(), image[0].tobytes()
    positions, offset = [], pixels.find(first_row)
    while offset >= 0:
        y, x = divmod(offset // sheet[0, 0].size, sheet.shape[1])
        if np.array_equal(sheet[y : y + height, x : x + width], image):
            positions.append((y, x))
        offset = pixels.find(first_row, offset + 1)
    return positions


def enlarged(image: np.ndarray, scale: int = 3) -> np.ndarray:
    """A gray image with every pixel repeated."""
    return image.squeeze(axis=-1).repeat(scale, axis=0).repeat(scale, axis=1)


def names(count: int) -> list[str]:
    return [f"class {number}" for number in range(count)]


@pytest.fixture
def drawn_texts(monkeypatch) -> list[str]:
    """All texts that are drawn, in order."""
    texts, draw_text = [], contact_sheet.ImageDraw.ImageDraw.text

    def text(pen, position, text, *args, **kwargs):
        texts.append(text)
        draw_text(pen, position, text, *args, **kwargs)

    monkeypatch.setattr(contact_sheet.ImageDraw.ImageDraw, "text", text)
    return texts


def test_choose_takes_the_first_examples_of_each_class():
    labels = np.array([2, 0, 2, 2, -1, 0, 7, 2])
    chosen = choose(labels, num_classes=4, per_class=3)
    assert [rows.tolist() for rows in chosen] == [[1, 5], [], [0, 2, 3], []]


@pytest.mark.parametrize("count", [1, 10, 30])
def test_chosen_examples_give_the_same_sheet_as_all_examples(tmp_path, count):
    examples, class_names = noise(count, examples_each=150), names(count)
    chosen = choose(examples.labels, num_classes=count, per_class=examples_per_class(count))
    part = examples.take(np.sort(np.concatenate(chosen)))
    assert len(part) < len(examples)
    for file, shown in (("all", examples), ("part", part)):
        draw(tmp_path / file, shown, title="t", class_names=class_names, counts=[150] * count)
    assert (tmp_path / "all").read_bytes() == (tmp_path / "part").read_bytes()


def test_each_class_has_one_row_with_its_examples_in_order(tmp_path):
    examples = noise(10)
    sheet = draw_sheet(tmp_path, examples, names(10))
    positions = np.array([find(enlarged(image), sheet) for image in examples.images])
    assert positions.shape == (40, 1, 2)
    by_class = positions.reshape(4, 10, 2)  # [column, class, (y, x)]
    tops, lefts = by_class[0, :, 0], by_class[:, 0, 1]
    assert (by_class[..., 0] == tops).all()
    assert (by_class[..., 1] == lefts[:, None]).all()
    # The spacing is even.
    assert len(set(np.diff(tops))) == len(set(np.diff(lefts))) == 1
    assert np.diff(tops)[0] > np.diff(lefts)[0] > 3 * 28


def test_few_classes_fill_several_rows(tmp_path):
    examples = noise(1, examples_each=200)
    sheet = draw_sheet(tmp_path, examples, ["unlabelled"])
    positions = [find(enlarged(image), sheet) for image in examples.images]
    shown = [position[0] for position in positions if position]
    assert len(shown) == examples_per_class(1) == 120
    assert shown == [position[0] for position in positions[:120]]
    assert shown == sorted(shown)  # Row by row.
    assert len({y for y, _ in shown}) == 10


def test_colors_are_kept_and_images_too_large_to_double_are_not_enlarged(tmp_path):
    examples = noise(3, (64, 50, 3), examples_each=2)
    sheet = draw_sheet(tmp_path, examples, names(3))
    assert all(len(find(image, sheet)) == 1 for image in examples.images)


def test_large_images_are_reduced_in_proportion(tmp_path):
    colors = np.array([[200, 30, 60], [10, 220, 90]], np.uint8)
    images = np.broadcast_to(colors[:, None, None], (2, 300, 200, 3))
    examples = ExampleBatch(["0", "1"], images, np.array([0, 1]))
    sheet = draw_sheet(tmp_path, examples, ["red", "green"])
    for color in colors:
        rows, columns = np.nonzero((sheet == color).all(axis=-1))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert (height, width) == (96, 64)
        assert len(rows) == height * width


@pytest.mark.parametrize("count", [1, 2, 5, 20, 21, 300])
def test_the_first_twenty_classes_are_shown_and_counted(tmp_path, count, drawn_texts):
    examples = noise(count)
    sheet = draw_sheet(tmp_path, examples, names(count))
    num_shown = min(count, MAX_CLASSES)
    for label, image in enumerate(examples.images[:count]):
        assert len(find(enlarged(image), sheet)) == (label < num_shown)
    assert f" · {num_shown} of {count} classes" in drawn_texts[1]


def test_texts_describe_the_split_and_the_classes_with_examples(tmp_path, drawn_texts):
    examples = ExampleBatch(["a", "b", "c"], noise(3, examples_each=1).images, np.array([0, 0, 2]))
    draw(
        tmp_path / "sheet.png",
        examples,
        title="pets, train",
        class_names=["cat", "dog", "fish"],
        counts=[54000, 0, 1],
    )
    assert drawn_texts == [
        "pets, train",
        "54,001 examples · 28×28×1 · 2 of 3 classes",
        *("cat", "54,000", "fish", "1"),
    ]


@pytest.mark.parametrize("count", [1, 5, 12, 47])
def test_texts_and_images_do_not_overlap(tmp_path, monkeypatch, count):
    boxes, draw_text = [], contact_sheet.ImageDraw.ImageDraw.text

    def text(pen, position, text, color, font):
        boxes.append(pen.textbbox(position, text, font))
        draw_text(pen, position, text, color, font)

    monkeypatch.setattr(contact_sheet.ImageDraw.ImageDraw, "text", text)
    examples = noise(count, examples_each=3)
    long_names = [f"{number} {'a very long name ' * (number % 5)}" for number in range(count)]
    sheet = draw_sheet(tmp_path, examples, long_names, title="long " * 100)
    positions = [find(enlarged(image), sheet) for image in examples.images]
    boxes += [(x, y, x + 84, y + 84) for found in positions for y, x in found]
    left, top, right, bottom = np.array(boxes).T
    is_apart = (right[:, None] <= left) | (bottom[:, None] <= top)
    assert (is_apart | is_apart.T | np.eye(len(boxes), dtype=bool)).all()
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= sheet.shape[1]
    assert bottom.max() <= sheet.shape[0]


def test_long_names_end_in_an_ellipsis(tmp_path, drawn_texts):
    name = "Ailuropoda melanoleuca qinlingensis of the mountains"
    draw_sheet(tmp_path, noise(2), [name, "cat"], title="of " * 200)
    title, _, shortened, *rest = drawn_texts
    assert shortened.endswith("…")
    assert name.startswith(shortened[:-1])
    assert len(shortened) > 20
    assert title.endswith("…")
    assert rest[1] == "cat"


def test_any_name_can_be_drawn(tmp_path, drawn_texts):
    class_names = ["漢字", "Кошка", "مرحبا", "a\nb\tc", "\x00", "\udcff", "😀", "", "é" * 3000]
    assert draw_sheet(tmp_path, noise(9), class_names, title="two\nlines \udcff").size
    assert drawn_texts[0] == "two lines ?"
    assert drawn_texts[8] == "a b c"


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (4, 512, 3), (512, 4, 1), (1, 1000, 3), (1000, 1, 1), (96, 96, 3), (97, 90, 1)],
)
@pytest.mark.parametrize("count", [1, 2, 30])
def test_the_sheet_is_bounded_for_images_of_any_shape(tmp_path, shape, count):
    assert draw_sheet(tmp_path, noise(count, shape, examples_each=50), names(count)).size


def test_one_example_per_class_is_enough_and_so_is_none(tmp_path):
    labels = np.arange(5)
    images = garments.draw_garments(labels, np.random.default_rng(0))
    examples = ExampleBatch(list("abcde"), images, labels)
    sheet = draw_sheet(tmp_path, examples, garments.CLASS_NAMES)
    assert all(len(find(enlarged(image), sheet)) == 1 for image in images)
    empty = draw_sheet(tmp_path, examples.take(np.arange(0)), garments.CLASS_NAMES)
    assert empty.size < sheet.size


def test_equal_examples_give_equal_bytes(tmp_path):
    for name in ("one", "other"):
        draw_sheet(tmp_path, noise(7), names(7), name=name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_drawing_imports_neither_matplotlib_nor_tensorflow(tmp_path):
    code = """
import sys
import numpy as np
from components.ingest import contact_sheet
from components.data.examples import ExampleBatch
examples = ExampleBatch(["a"], np.zeros((1, 28, 28, 1), np.uint8), np.zeros(1, np.int64))
contact_sheet.draw(sys.argv[1], examples, title="t", class_names=["a"], counts=[1])
print(*sys.modules)
"""
    path = tmp_path / "sheet.png"
    ran = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    assert path.exists()
    assert not {"matplotlib", "tensorflow"} & set(ran.stdout.split())


def test_names_are_in_natural_order_and_in_letters_of_the_font(tmp_path, drawn_texts):
    draw_sheet(tmp_path, noise(4), ["1", "10", "2", "猫"])
    assert drawn_texts[2::2] == ["1", "2", "10", "class 3"]
    assert drawn_texts[1].endswith(" · 1 class name is shown as numbers: the font lacks letters")

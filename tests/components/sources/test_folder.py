import io
import os
import pickle
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from PIL import Image

from components.base.errors import ConfigError, WorkError
from components.data.examples import ExampleBatch
from components.ingest.conversion import Conversion
from components.ingest.decode import MAX_ENCODED_BYTES
from components.ingest.rejection import Reason, Rejected
from components.sources import folder, image_files
from components.sources.folder import FolderSource

SHAPE = (4, 3)


def pixels(number: int) -> np.ndarray:
    """An image whose pixels are all `number`."""
    return np.full((*SHAPE, 1), number, np.uint8)


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(number)[..., 0]).save(buffer, "PNG")
    return buffer.getvalue()


def write(root: Path, names: Iterable[str | bytes], *, first: int = 0) -> None:
    """Writes images to these paths below `root`; their pixels are `first`, `first` + 1, ..."""
    for number, name in enumerate(names, first):
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(png(number % 256))


def source_of(root: Path) -> FolderSource:
    return FolderSource(epath.Path(root))


def read_all(source: FolderSource) -> tuple[dict[str, tuple[str, str, int]], list[Rejected]]:
    """(split, class, first pixel) by id, and the rejected inputs; checks that none is missing."""
    examples: dict[str, tuple[str, str, int]] = {}
    rejected = []
    for part in source.slices():
        inputs = 0
        for item in source.read(part):
            if isinstance(item, Rejected):
                assert item.split == part.split
                rejected.append(item)
                inputs += 1
                continue
            assert isinstance(item, ExampleBatch)
            assert item.images.dtype == np.uint8
            inputs += len(item)
            for key, image, label in zip(item.ids, item.images, item.labels, strict=True):
                assert key not in examples
                examples[key] = (part.split, source.class_names[label], int(image.flat[0]))
        assert inputs == part.examples == len(part.files)
    assert len(examples) + len(rejected) == sum(source.num_examples.values())
    return examples, rejected


def test_folders_are_named_after_splits_and_classes(tmp_path):
    names = ["train/dog/1.png", "train/cat/1.png", "Validation/dog/1.png"]
    names += ["test/cat/1.png", "test/loose.png", "train/loose.png"]
    write(tmp_path, names)
    source = source_of(tmp_path)
    assert source.class_names == ["cat", "dog", "unlabelled"]
    assert list(source.num_examples.items()) == [("train", 3), ("validation", 1), ("test", 2)]
    examples, rejected = read_all(source)
    assert rejected == []
    places = [("train", "dog"), ("train", "cat"), ("validation", "dog")]
    places += [("test", "cat"), ("test", "unlabelled"), ("train", "unlabelled")]
    assert examples == {
        name: (*place, number)
        for number, (name, place) in enumerate(zip(names, places, strict=True))
    }


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["train/a/1.png", "test/a/1.png", "ground_truth/a/1_mask.png"], "in ground_truth;"),
        (["train/a/1.png", "test/a/1.png", "loose.png"], "in .;"),
        (["bus/1.png", "car/1.png", "train/1.png"], "in bus, car;"),
        (["trainA/1.png", "testB/1.png"], "testB (test), trainA (train)"),
        (["a/1.png", "holdout/1.png"], "holdout may be a split or a class"),
        (["images/1.png", "masks/1.png"], "masks beside images"),
    ],
)
def test_an_unclear_layout_is_an_error_of_one_line(tmp_path, names, found):
    write(tmp_path, names)
    with pytest.raises(ConfigError, match="--splits train=") as caught:
        source_of(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_user_may_name_the_folders_of_the_splits(tmp_path):
    names = ["bus/1.png", "car/1.png", "old/car/1.png", "train/1.png"]
    write(tmp_path, names)
    source = FolderSource(epath.Path(tmp_path), splits="test=old,train=.")
    assert source.settings == {
        "image_size": None,
        "channels": None,
        "splits": "train=.,test=old",
    }
    examples, rejected = read_all(pickle.loads(pickle.dumps(source)))
    assert rejected == []
    places = [("train", "bus"), ("train", "car"), ("test", "car"), ("train", "train")]
    assert [examples[name][:2] for name in names] == places


def test_files_outside_the_folders_that_the_user_names_are_no_inputs(tmp_path):
    write(tmp_path, ["a/1.png", "b/x/1.png", "b/y/1.png", "c/1.png", "loose.png"])
    options = {"splits": "train=b,test=a", "label_depth": 1}
    source = FolderSource(epath.Path(tmp_path), **options)
    assert source.settings.items() >= {"splits": "train=b,test=a", "label_depth": 1}.items()
    assert source.num_examples == {"train": 2, "test": 1}
    assert source.class_names == ["x", "y", "unlabelled"]
    assert "  ignored: 2 files outside the folders of --splits" in source.outline()
    before = source.input.fingerprint
    write(tmp_path, ["c/2.png"])
    assert FolderSource(epath.Path(tmp_path), **options).input.fingerprint == before
    write(tmp_path, ["b/x/2.png"])
    assert FolderSource(epath.Path(tmp_path), **options).input.fingerprint != before


def test_files_that_are_no_images_make_no_class_and_no_split(tmp_path):
    write(tmp_path, ["images/train/1.png", "images/val/1.png", "images/val/broken.png"])
    texts = ["labels/train/1.txt", "labels/test/1.txt", "README.md", "labels/fake.png"]
    for name in [*texts, "images/val/broken.png"]:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("0 0.5 0.5")
    source = source_of(tmp_path)
    assert source.class_names == ["unlabelled"]
    assert source.num_examples == {"train": 4, "validation": 2, "test": 1}
    examples, rejected = read_all(source)
    assert {name: place[:2] for name, place in examples.items()} == {
        "images/train/1.png": ("train", "unlabelled"),
        "images/val/1.png": ("validation", "unlabelled"),
    }
    assert {item.id for item in rejected} == {*texts, "images/val/broken.png"}
    assert {item.reason for item in rejected} == {Reason.WRONG_TYPE}
    assert {item.label for item in rejected if item.id in ("README.md", "labels/fake.png")} == {
        None
    }


def test_a_file_outside_that_becomes_an_image_while_it_is_read_is_rejected(tmp_path):
    write(tmp_path, ["train/1.png", "test/1.png"])
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/1.png").write_text("no image yet")
    source = source_of(tmp_path)
    write(tmp_path, ["masks/1.png"])
    examples, [rejected] = read_all(source)
    assert sorted(examples) == ["test/1.png", "train/1.png"]
    assert (rejected.id, rejected.reason) == ("masks/1.png", Reason.UNREADABLE)
    assert "changed while it was read" in rejected.detail


def test_what_systems_leave_behind_is_ignored_and_counted(tmp_path):
    write(tmp_path, ["cat/1.png", "dog/1.png"])
    before = source_of(tmp_path)
    write(tmp_path, ["@eaDir/1.png/thumb.png", "cat/@eaDir/1.png", "__MACOSX/cat/1.png"])
    write(tmp_path, [".thumbnails/1.png", "cat/._1.png"])
    for name in ("Thumbs.db", "cat/desktop.ini", "Icon\r", ".DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    source = source_of(tmp_path)
    assert source.class_names == ["cat", "dog"]
    assert (source.num_examples, source.input) == ({"train": 2}, before.input)
    assert source.outline()[-1].startswith("  ignored: 6 files that systems leave behind (")
    assert source.outline()[-1].endswith(", …), 3 hidden")


def test_a_folder_without_images_is_one_split_of_rejected_files(tmp_path):
    for name in ("train/1.txt", "test/2.txt", "holdout/3.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("no image")
    examples, rejected = read_all(source_of(tmp_path))
    assert (examples, len(rejected)) == ({}, 3)


def test_one_image_is_enough_to_know_a_folder_of_images(tmp_path, monkeypatch):
    write(tmp_path, [f"{n % 2}/{n}" for n in range(50)])
    opened = []
    read_start = image_files._read_start_local
    monkeypatch.setattr(
        image_files, "_read_start_local", lambda path: opened.append(path) or read_start(path)
    )
    assert source_of(tmp_path).class_names == ["0", "1"]
    assert len(opened) == 2


@pytest.mark.parametrize("folder_name", ["", "cat/", "x/y/"])
def test_images_that_are_held_out_by_their_own_names_do_not_become_train(tmp_path, folder_name):
    numbers = {"train": 5, "test": 3}
    names = [f"{split}_{n:03}.png" for split, count in numbers.items() for n in range(count)]
    write(tmp_path, [folder_name + name for name in names])
    found = f"{folder_name}test_000.png, {folder_name}test_001.png, {folder_name}test_002.png"
    with pytest.raises(ConfigError, match=f"{found}: .* use --splits train=. if all") as caught:
        source_of(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="seem to say validation or test"):
        FolderSource(epath.Path(tmp_path), label_depth=0)
    assert FolderSource(epath.Path(tmp_path), splits="train=.").num_examples == {"train": 8}
    for name in names:
        path = tmp_path / name.partition("_")[0] / "a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / folder_name / name).rename(path)
    assert source_of(tmp_path).num_examples == numbers


def test_other_names_of_files_are_no_reason_to_stop(tmp_path):
    write(tmp_path, ["Val_Kilmer_1.png", "test_tube_2.png", "latest.png", ".test.png"])
    (tmp_path / "test.txt").write_text("a list of the images for the test")
    (tmp_path / "test.png").touch()
    assert source_of(tmp_path).num_examples == {"train": 5}
    # Where folders are the splits, they decide.
    write(tmp_path / "b", ["train/test_1.png", "test/train_1.png"])
    assert source_of(tmp_path / "b").num_examples == {"train": 1, "test": 1}


def test_a_folder_that_links_lead_to_is_read_once(tmp_path):
    write(tmp_path / "pets", ["cat/1.png", "dog/1.png"])
    write(tmp_path / "elsewhere", ["2.png"])
    os.symlink(tmp_path / "pets", tmp_path / "pets/cat/again")
    os.symlink("cat", tmp_path / "pets/a")
    os.symlink(tmp_path / "elsewhere", tmp_path / "pets/cow")
    source = source_of(tmp_path / "pets")
    examples, rejected = read_all(source)
    assert {name: place[1] for name, place in examples.items()} == {
        "cat/1.png": "cat",
        "dog/1.png": "dog",
        "cow/2.png": "cow",
    }
    assert rejected == []
    assert source.outline()[-1] == (
        "  ignored: 2 links to folders that are read under another name (a, cat/again)"
    )


def test_without_folders_of_splits_all_images_are_train(tmp_path):
    write(tmp_path, ["b/1.png", "a/deep/er/1.png", "a/2.png"])
    source = source_of(tmp_path)
    assert source.class_names == ["a", "b", "er"]
    assert source.num_examples == {"train": 3}


def test_an_empty_folder_named_after_a_split_is_no_split(tmp_path):
    (tmp_path / "test").mkdir()
    write(tmp_path, ["a/1.png", "train"])
    assert source_of(tmp_path).num_examples == {"train": 2}


def test_images_without_folders_are_unlabelled(tmp_path):
    write(tmp_path, ["1.png", "2.png"])
    source = source_of(tmp_path)
    assert (source.class_names, source.num_examples) == (["unlabelled"], {"train": 2})


def test_a_folder_may_have_no_train_split(tmp_path):
    write(tmp_path, ["test/zebra/1.png", "test/unlabelled/1.png", "test/2.png"])
    source = source_of(tmp_path)
    assert source.num_examples == {"test": 3}
    assert source.class_names == ["zebra", "unlabelled"]


@pytest.mark.parametrize(
    ("format", "options"),
    [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 95})],
)
def test_the_content_of_a_file_determines_its_type(tmp_path, format, options):
    image = np.full((16, 16, 3), 77, np.uint8)
    Image.fromarray(image).save(tmp_path / "picture.txt", format, **options)
    source = source_of(tmp_path)
    [batch] = source.read(source.slices()[0])
    np.testing.assert_allclose(batch.images[0], image, atol=2)


def test_images_are_converted_and_the_settings_say_so(tmp_path):
    write(tmp_path, ["a/1.png"])
    path = epath.Path(tmp_path)
    assert source_of(tmp_path).settings == {"image_size": None, "channels": None}
    source = FolderSource(path, Conversion(image_size=(8, 6), channels=3))
    assert source.settings == {"image_size": [8, 6], "channels": 3}
    [batch] = source.read(source.slices()[0])
    assert batch.shape == (8, 6, 3)


@pytest.fixture
def broken(tmp_path) -> Path:
    """A folder with an image and with everything that is not an image."""
    write(tmp_path, ["a/good.png", "b/.hidden.png", ".git/x.png"])
    (tmp_path / "a/.DS_Store").write_bytes(b"x")
    (tmp_path / "a/empty.png").touch()
    (tmp_path / "a/text.png").write_text("no image at all")
    (tmp_path / "a/cut.png").write_bytes(png(0)[:45])
    os.mkfifo(tmp_path / "a/pipe.png")
    os.symlink("nowhere", tmp_path / "a/dangling.png")
    os.symlink("loop.png", tmp_path / "a/loop.png")
    os.symlink(tmp_path, tmp_path / "a/up")
    os.symlink("good.png", tmp_path / "a/link.png")
    # Regular files that say they have no bytes. To read the second one waits for the kernel.
    os.symlink("/proc/self/mem", tmp_path / "a/memory.png")
    os.symlink("/proc/kmsg", tmp_path / "a/kernel.png")
    os.symlink("/dev/zero", tmp_path / "a/zero.png")
    with open(tmp_path / "a/huge.png", "wb") as file:
        file.truncate(MAX_ENCODED_BYTES + 1)
    write(tmp_path, ["a/vanished.png"])
    return tmp_path


def test_files_that_are_not_images_are_rejected_with_a_reason(broken):
    source = source_of(broken)
    slices = source.slices()
    (broken / "a/vanished.png").unlink()
    assert source.slices() == slices
    examples, rejected = read_all(source)
    assert examples == dict.fromkeys(("a/good.png", "a/link.png"), ("train", "a", 0))
    assert {item.label for item in rejected} == {source.class_names.index("a")}
    assert {item.id.removeprefix("a/"): item.reason for item in rejected} == {
        "empty.png": Reason.EMPTY,
        "text.png": Reason.WRONG_TYPE,
        "cut.png": Reason.UNDECODABLE,
        "pipe.png": Reason.WRONG_TYPE,
        "dangling.png": Reason.WRONG_TYPE,
        "loop.png": Reason.WRONG_TYPE,
        "memory.png": Reason.EMPTY,
        "kernel.png": Reason.EMPTY,
        "zero.png": Reason.WRONG_TYPE,
        "vanished.png": Reason.UNREADABLE,
        "huge.png": Reason.TOO_LARGE,
    }
    details = {item.id.removeprefix("a/"): item.detail for item in rejected}
    assert details["pipe.png"] == "not a regular file"
    assert details["zero.png"] == "not a regular file"
    assert details["vanished.png"] == "No such file or directory"
    assert details["huge.png"] == f"{(128 << 20) + 1} bytes; the limit is {128 << 20}"


def test_a_folder_that_a_worker_does_not_see_is_an_error(tmp_path):
    write(tmp_path / "pets", ["a/1.png", "a/2.png"])
    source = source_of(tmp_path / "pets")
    (part,) = source.slices()
    (tmp_path / "pets").rename(tmp_path / "elsewhere")
    with pytest.raises(WorkError) as caught:
        source.read(part)
    assert str(caught.value) == (
        f"none of the 2 files of a slice of {tmp_path}/pets is on the machine that reads it; give "
        "all workers the folder under this path, and run the same command again"
    )


def test_unusual_names_stay_distinct_and_on_one_line(tmp_path):
    names: list[bytes] = [b"a\nb.png", b"100%.png", b"100%25.png", b"..png", b"a..b.png"]
    names += ["é/日本.png".encode(), "e\u0301/1.png".encode(), b"\xe9/1.png", b"\xff\xfe.png"]
    names += ["x\u2028y.png".encode(), b"x" * 255, b"n\nl/1.png", b" /1.png", b"\x1b[0m.png"]
    write(tmp_path, names)
    source = source_of(tmp_path)
    examples, rejected = read_all(source)
    assert rejected == []
    assert len(examples) == len(names)
    assert {"a%0Ab.png", "100%25.png", "100%2525.png", "é/日本.png", "%E9/1.png"} <= examples.keys()
    assert {"%FF%FE.png", "x%E2%80%A8y.png", "x" * 255, "n%0Al/1.png"} <= examples.keys()
    assert source.class_names == [*sorted(["%E9", "é", "é", "n%0Al", "%20"]), "unlabelled"]
    assert all("\n" not in part.name and part.name.encode() for part in source.slices())


def test_slices_are_consecutive_and_independent_of_the_order_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "FILES_PER_SLICE", 512)
    names = [f"{split}/{n % 3}/{n:04d}.png" for split in ("train", "test") for n in range(600)]
    numbers = dict(zip(names, range(1200), strict=True))
    for root, order in (("one", names), ("two", reversed(names))):
        for name in order:
            write(tmp_path / root, [name], first=numbers[name])
    one, two = source_of(tmp_path / "one"), source_of(tmp_path / "two")
    slices = one.slices()
    assert slices == one.slices() == two.slices()
    described = [(part.split, part.first, part.examples) for part in slices]
    assert described == [("train", 0, 512), ("train", 512, 88), ("test", 0, 512), ("test", 512, 88)]
    assert all(part.name == part.files[0] for part in slices)
    assert [file for part in slices for file in part.files] == [
        *sorted(names[:600]),
        *sorted(names[600:]),
    ]
    assert read_all(one) == read_all(two)
    assert {key: value for key, (*_, value) in read_all(one)[0].items()} == {
        name: number % 256 for name, number in numbers.items()
    }


def test_slices_of_large_files_are_limited_by_their_bytes(tmp_path):
    mib = 1 << 20
    sizes = [30, 34, 1, 200, 63, 2, 62, 1]
    for number, size in enumerate(sizes):
        with open(tmp_path / f"{number}.png", "wb") as file:
            file.truncate(size * mib)
    slices = source_of(tmp_path).slices()
    assert [part.examples for part in slices] == [2, 1, 1, 1, 2, 1]
    assert [part.first for part in slices] == [0, 2, 3, 4, 5, 7]
    assert [file for part in slices for file in part.files] == [f"{n}.png" for n in range(8)]


def test_a_pickled_source_has_the_classes_but_not_the_listing(tmp_path):
    write(tmp_path, [f"{n % 2}/{n}.png" for n in range(300)])
    source = source_of(tmp_path)
    slices = source.slices()
    state = pickle.dumps(source)
    assert len(state) < 1000
    copy = pickle.loads(state)
    assert copy == source
    # A class that appears now must not shift the labels of workers that start later.
    write(tmp_path, ["0a/new.png"])
    assert copy.class_names == ["0", "1"]
    [mine], [theirs] = list(source.read(slices[0])), list(copy.read(slices[0]))
    np.testing.assert_array_equal(mine.images, theirs.images)
    np.testing.assert_array_equal(mine.labels, theirs.labels)
    assert "_listing" not in vars(copy)


def test_a_changed_file_changes_the_fingerprint(tmp_path):
    write(tmp_path, ["a/1.png", "a/2.png"])
    os.utime(tmp_path / "a/1.png", ns=(0, 1_600_000_000_000_000_000))
    before = source_of(tmp_path).input
    assert before.path == epath.Path(tmp_path)
    assert source_of(tmp_path).input == before
    (tmp_path / "a/.hidden").touch()
    assert source_of(tmp_path).input == before
    assert pickle.loads(pickle.dumps(source_of(tmp_path))).input == before
    content = (tmp_path / "a/1.png").read_bytes()
    (tmp_path / "a/1.png").write_bytes(content[:-1] + b"!")
    os.utime(tmp_path / "a/1.png", ns=(0, 1_600_000_000_001_000_000))
    changed = source_of(tmp_path).input
    (tmp_path / "a/2.png").rename(tmp_path / "a/3.png")
    assert (
        len({before.fingerprint, changed.fingerprint, source_of(tmp_path).input.fingerprint}) == 3
    )


def test_the_dataset_is_named_after_its_folder(tmp_path, monkeypatch):
    write(tmp_path / "2024 Käfer", ["1.png"])
    assert source_of(tmp_path / "2024 Käfer").name == "images_2024_k_fer"
    monkeypatch.chdir(tmp_path / "2024 Käfer")
    assert source_of(Path(".")).name == "images_2024_k_fer"


@pytest.mark.parametrize("name", ["empty", "absent", "file"])
def test_a_folder_without_files_is_refused(tmp_path, name):
    (tmp_path / "empty/inside/.git").mkdir(parents=True)
    (tmp_path / "empty/inside/.git/config").touch()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"{name} is not a folder with files in it") as caught:
        source_of(tmp_path / name)
    assert "\n" not in str(caught.value)

import http.server
import json
import pickle
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from etils import epath

from components.base.errors import ConfigError, WorkError
from components.ingest.rejection import Reason, Rejected
from components.sources import tfds_source
from components.sources.source import Slice
from components.sources.tfds_source import TfdsSource, download
from tests.components.sources.small_datasets import IMAGES, LABELS, ROWS_BY_SPLIT, write_tfds
from tests.conftest import read_split
from tests.tfrecords import write_records


def make_source(fields: dict[str, str]) -> TfdsSource:
    return TfdsSource("mine/round:1.0.0", epath.Path(fields["dataset"]))


def records_file(source: TfdsSource, split: str) -> Path:
    (part,) = [part for part in source.slices() if part.split == split]
    return Path(source.path) / part.name


def test_fashion_mnist_is_read_as_tfds_reads_it(fashion_mnist_data_dir):
    import tensorflow_datasets as tfds

    from components.sources.dataset_names import find_prepared

    path = find_prepared("fashion_mnist", fashion_mnist_data_dir)
    source = TfdsSource("fashion_mnist", path)
    part = next(part for part in source.slices() if part.split == "test")
    batch = next(source.read(part))
    builder = tfds.builder_from_directory(path)
    expected = builder.as_dataset(split="test[:1000]", as_supervised=True, batch_size=1000)
    images, labels = next(iter(expected.as_numpy_iterator()))
    np.testing.assert_array_equal(batch.images[:1000], images)
    np.testing.assert_array_equal(batch.labels[:1000], labels)


def test_names_come_from_the_dataset(tmp_path):
    source = make_source(write_tfds(tmp_path))
    assert source.name == "mine_round"
    assert source.class_names == ["0", "1"]
    assert source.settings == {"image_size": None, "channels": None}


def test_splits_may_have_other_names(tmp_path, capsys):
    rows_by_split = {"train": range(8), "dev": range(8, 13), "test": range(13, 15)}
    source = make_source(write_tfds(tmp_path, rows_by_split))
    assert source.num_examples == {"train": 8, "validation": 5, "test": 2}
    batch = read_split(source, "validation")
    np.testing.assert_array_equal(batch.images[..., 0], IMAGES[8:13])
    np.testing.assert_array_equal(batch.labels, LABELS[8:13])
    assert batch.ids == [f"validation-{index:08d}" for index in range(5)]
    assert capsys.readouterr().err == ""


def test_ignored_splits_are_reported_once(tmp_path, capsys):
    rows = {"train": range(8), "dev": range(8, 9), "validation": range(9, 12), "extra": range(9)}
    fields = write_tfds(tmp_path, rows)
    source = make_source(fields)
    # The fingerprint, which answers whether prepare is up to date, needs no TFDS.
    assert source.input.fingerprint != ""
    assert capsys.readouterr().err == ""
    assert source.num_examples == {"train": 8, "validation": 3}
    pickle.loads(pickle.dumps(source)).slices()
    make_source(fields).slices()
    assert capsys.readouterr().err == (
        "warning: mine/round:1.0.0: reading only the splits train, validation; ignoring: dev, "
        "extra\n"
    )


def test_a_dataset_without_a_usable_split_is_refused(tmp_path):
    source = make_source(write_tfds(tmp_path, {"extra": range(3), "unsupervised": range(2)}))
    with pytest.raises(ConfigError, match="or test; it has: extra, unsupervised; name") as caught:
        source.slices()
    assert "\n" not in str(caught.value)


def test_a_long_file_is_read_in_slices(tmp_path, monkeypatch):
    source = make_source(write_tfds(tmp_path))
    monkeypatch.setattr(tfds_source, "_RECORDS_PER_SLICE", 8)
    parts = [part for part in source.slices() if part.split == "train"]
    assert [(part.first, part.examples) for part in parts] == [(0, 8), (8, 8), (16, 4)]
    np.testing.assert_array_equal(read_split(source).images[..., 0], IMAGES[:20])
    backwards = read_split(source, parts=parts[::-1])
    np.testing.assert_array_equal(backwards.images[..., 0], IMAGES[:20])


@pytest.mark.parametrize(("split", "count"), [("test", 30), ("train", 10)])
def test_a_file_with_another_number_of_records_stops_the_work(tmp_path, split, count):
    source = make_source(write_tfds(tmp_path))
    expected = source.num_examples[split]
    train, test = records_file(source, "train"), records_file(source, "test")
    if split == "test":
        test.write_bytes(test.read_bytes() + train.read_bytes())
    else:
        shutil.copy(test, train)
    message = f"holds {count} records, its dataset_info.json says {expected}: restore the file"
    with pytest.raises(WorkError, match=message):
        read_split(source, split)


def test_records_that_are_not_examples_are_rejected(tmp_path):
    import tensorflow_datasets as tfds

    source = make_source(write_tfds(tmp_path, {"test": range(3)}))
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=(5, 4, 1)), "label": np.int64}
    )
    bad_label, good = (
        features.serialize_example({"image": IMAGES[0][..., None], "label": label})
        for label in (2, 1)
    )
    write_records(records_file(source, "test"), [b"\xff", bad_label, good])
    *rejected, batch = source.read(source.slices()[0])
    assert all(isinstance(item, Rejected) for item in rejected)
    assert [(item.id, item.reason, item.detail) for item in rejected] == [
        ("test-00000000", Reason.UNDECODABLE, "not a tf.Example"),
        ("test-00000001", Reason.BAD_LABEL, "label 2 is outside 0..1"),
    ]
    assert batch.ids == ["test-00000002"]
    np.testing.assert_array_equal(batch.images[0, ..., 0], IMAGES[0])


def test_a_slice_of_another_dataset_is_a_bug(tmp_path):
    source = make_source(write_tfds(tmp_path))
    with pytest.raises(ValueError, match="no file 'other' in train"):
        list(source.read(Slice("train", "other", 0, 1)))


def test_the_fingerprint_covers_texts_by_content_and_shards_by_size(tmp_path):
    source = make_source(write_tfds(tmp_path))
    before = source.input
    assert before.path == source.path
    info = source.path / "dataset_info.json"
    text = info.read_text()
    info.write_text(text.replace("1.0.0", "1.0.1"))
    assert source.input.fingerprint != before.fingerprint
    info.write_text(text)
    assert source.input == before
    (source.path / ".hidden").touch()
    assert source.input == before
    with records_file(source, "test").open("ab") as file:
        file.write(b"x")
    assert source.input.fingerprint != before.fingerprint


def test_a_dataset_whose_server_does_not_answer_says_what_to_do(tmp_path, monkeypatch):
    # Nothing listens on this port.
    answers = tfds_source._answers
    monkeypatch.setattr(tfds_source, "_answers", lambda url: answers("http://127.0.0.1:9/"))
    with pytest.raises(WorkError) as caught:
        download("fashion_mnist", tmp_path)
    for part in ("not prepared under", str(tmp_path), "does not answer", "synthetic_garments"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_config_of_a_dataset_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="TFDS has no dataset 'cifar10_corrupted/none'") as caught:
        download("cifar10_corrupted/none", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_dataset_that_tfds_cannot_prepare_is_one_line(tmp_path, monkeypatch):
    """imagenet2012 needs files that its user downloads by hand."""
    monkeypatch.setattr(tfds_source, "_answers", lambda url: True)
    with pytest.raises(WorkError, match="TFDS could not prepare 'imagenet2012': ") as caught:
        download("imagenet2012", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def hostile(tmp_path, monkeypatch) -> Iterator[Path]:
    """A prepared dataset whose label has a class of the module hostile_code.evil, which exists."""
    path = Path(write_tfds(tmp_path)["dataset"])
    own, theirs = "tensorflow_datasets.core.features.class_label_feature.", "hostile_code.evil."
    features = path / "features.json"
    features.write_text(features.read_text().replace(own, theirs))
    (tmp_path / "hostile_code").mkdir()
    (tmp_path / "hostile_code/evil.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop("hostile_code.evil", None)


def test_a_hostile_dataset_cannot_make_tfds_import_its_code(hostile):
    import tensorflow_datasets as tfds

    message = r"names the class 'hostile_code\.evil\.ClassLabel' at 'label'"
    with pytest.raises(ConfigError, match=message):
        TfdsSource("mine", epath.Path(hostile)).slices()
    assert "hostile_code.evil" not in sys.modules
    # Without the check, TFDS does import it.
    with pytest.raises(ValueError, match="Unrecognized FeatureConnector type"):
        _ = tfds.builder_from_directory(hostile).info
    assert "hostile_code.evil" in sys.modules


def test_a_download_does_not_import_the_code_of_another_version(hostile, tmp_path):
    """TFDS looks for other versions under the data directory if a version is named."""
    shutil.copytree(hostile, tmp_path / "data/emnist/balanced/3.0.0")
    with pytest.raises(ConfigError, match=r"TFDS has no dataset 'emnist/balanced:3\.0\.0'"):
        download("emnist/balanced:3.0.0", tmp_path / "data")
    assert "hostile_code.evil" not in sys.modules


def test_numbers_in_the_metadata_cannot_exhaust_the_memory(tmp_path):
    source = make_source(write_tfds(tmp_path))
    for name, old, new, message in (
        ("features.json", '"numClasses": "2"', f'"numClasses": "{10**15}"', f"{10**15} classes"),
        ("dataset_info.json", '"20"', f'"{10**15}"', f"cannot hold {10**15} records"),
        ("dataset_info.json", '"20"', '"-20"', "cannot hold -20 records"),
    ):
        file = source.path / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        (source.path / "label.labels.txt").unlink(missing_ok=True)
        with pytest.raises(WorkError, match=message) as caught:
            TfdsSource("mine", source.path).slices()
        assert "\n" not in str(caught.value)
        file.write_text(text)


def test_a_record_that_would_fill_the_memory_is_refused(tmp_path):
    source = make_source(write_tfds(tmp_path, {"test": range(1)}))
    size = records_file(source, "test").stat().st_size - 16
    assert len(read_split(TfdsSource("mine", source.path, load_bytes=size), "test")) == 1
    with pytest.raises(ConfigError, match=rf"record 0 of .* pass --load_bytes {size}"):
        TfdsSource("mine", source.path, load_bytes=size - 1).slices()


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
@pytest.mark.parametrize(
    "change", [lambda document: {}, lambda document: document | {"name": 5, "featuresDict": 5}]
)
def test_damaged_metadata_is_one_line(tmp_path, name, change):
    source = make_source(write_tfds(tmp_path))
    document = json.loads((source.path / name).read_text())
    (source.path / name).write_text(json.dumps(change(document)))
    with pytest.raises((ConfigError, WorkError)) as caught:
        source.slices()
    assert "\n" not in str(caught.value)


@pytest.fixture
def server() -> Iterator[str]:
    """A local server that answers /CODE with that status code."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(int(self.path.strip("/")))
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("code", "answers"), [(200, True), (403, True), (404, True), (500, False), (503, False)]
)
def test_a_server_answers_unless_it_reports_an_error_of_its_own(server, code, answers):
    assert tfds_source._answers(f"{server}/{code}") == answers


def test_a_split_whose_labels_are_minus_one_is_unlabelled(tmp_path):
    import tensorflow_datasets as tfds

    path = write_tfds(tmp_path)["dataset"]
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=(5, 4, 1)), "label": np.int64}
    )
    records = [
        features.serialize_example({"image": IMAGES[row][..., None], "label": -1})
        for row in ROWS_BY_SPLIT["test"]
    ]
    (file,) = Path(path).glob("mine-test*")
    write_records(file, records)
    source = TfdsSource("mine", epath.Path(path))
    assert source.class_names == ["0", "1", "unlabelled"]
    assert set(read_split(source, "test").labels) == {2}
    np.testing.assert_array_equal(read_split(source).labels, LABELS[:20])

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.base.errors import ConfigError, WorkError
from pipeline.neighbours.config import NeighboursConfig
from pipeline.neighbours.stage import DUPLICATES, NEAREST, OUTLIERS, neighbours
from tests.components.ingest.test_contact_sheet import enlarged, find
from tests.pipeline.neighbours.written_tables import ids, normal, png, write_tables


def read_records(directory) -> list[dict]:
    return list(map(json.loads, (directory / "rows.jsonl").read_text().splitlines()))


def test_the_neighbors_of_a_row_are_shown_and_published(
    embedded_dir, example_set, tmp_path, capsys
):
    examples = example_set.read("test")
    arguments = {
        "embeddings": embedded_dir,
        "search": NEAREST,
        "query_name": examples.ids[30],
        "output": tmp_path / "out",
    }
    artifact = neighbours(NeighboursConfig(count=3), **arguments)
    assert set(artifact.manifest.outputs) == {"table.txt", "rows.jsonl", "contact_sheet.png"}
    assert artifact.manifest.counts == {"rows": 100, "found": 4, "groups": 1}
    shown = capsys.readouterr().out
    assert shown == (tmp_path / "out/table.txt").read_text()
    records = read_records(tmp_path / "out")
    (file,) = embedded_dir.glob("*.parquet")
    means = np.array(pq.read_table(file)["mean"].to_pylist())
    nearest = np.argsort(np.linalg.norm(means - means[30], axis=1))[:4]
    assert [record["id"] for record in records] == [examples.ids[row] for row in nearest]
    assert [line.split()[1] for line in shown.splitlines()[1:5]] == [
        record["id"] for record in records
    ]
    with Image.open(tmp_path / "out/contact_sheet.png") as picture:
        sheet = np.array(picture)
    places = [find(enlarged(examples.images[row]), sheet)[0] for row in nearest]
    assert [x for _, x in places] == sorted({x for _, x in places})

    neighbours(NeighboursConfig(count=3), **arguments)
    output = capsys.readouterr()
    assert output.out == shown
    assert "neighbours: up to date" in output.err
    with pytest.raises(ConfigError, match="count is 3, not the requested 4"):
        neighbours(NeighboursConfig(count=4), **arguments)
    neighbours(NeighboursConfig(count=4), **arguments, overwrite=True)
    assert len(read_records(tmp_path / "out")) == 5


def test_an_image_file_is_first_on_its_sheet(embedded_dir, example_set, tmp_path):
    examples = example_set.read("test")
    Image.fromarray(examples.images[7, :, :, 0]).save(tmp_path / "photo.png")
    artifact = neighbours(
        embeddings=embedded_dir,
        search=NEAREST,
        query_name=str(tmp_path / "photo.png"),
        output=tmp_path / "out",
    )
    query, first, *_ = read_records(tmp_path / "out")
    assert query == {"id": "photo.png", "distance": 0.0}
    assert list(query) == list(first)[:2]
    assert first["id"] == examples.ids[7]
    assert first["distance"] < 1e-4
    assert set(artifact.manifest.inputs) == {"embeddings", "image", "model"}
    with Image.open(tmp_path / "out/contact_sheet.png") as picture:
        assert len(find(enlarged(examples.images[7]), np.array(picture))) == 2


def test_the_outliers_are_shown_without_an_output(embedded_dir, tmp_path, capsys):
    assert neighbours(NeighboursConfig(count=5), embeddings=embedded_dir, search=OUTLIERS) is None
    (file,) = embedded_dir.glob("*.parquet")
    table = pq.read_table(file, columns=["id", "outlier_score"]).to_pylist()
    expected = sorted(table, key=lambda row: -row["outlier_score"])[:5]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["outlier_score", "rate", "distortion", "id"]
    assert [line.split()[3] for line in lines[1:6]] == [row["id"] for row in expected]


def test_copies_of_an_image_are_near_duplicates(tmp_path, capsys):
    means, log_variances = 100 * normal(40), np.zeros((40, 3), np.float32)
    means[[31, 8]] = means[2]
    images = [png(2 if number in (31, 8) else number) for number in range(40)]
    tables = write_tables(tmp_path / "tables", means, log_variance=log_variances, image=images)
    neighbours(embeddings=tables, search=DUPLICATES, output=tmp_path / "out")
    assert [record["id"] for record in read_records(tmp_path / "out")] == [
        ids(40)[row] for row in (2, 8, 31)
    ]
    assert "1 group with 3 of the 40 rows" in capsys.readouterr().out
    assert (tmp_path / "out/contact_sheet.png").exists()


def test_without_duplicates_there_is_no_sheet(tmp_path, capsys):
    means, log_variances = 100 * normal(4), np.zeros((4, 3), np.float32)
    images = [png(number) for number in range(4)]
    tables = write_tables(tmp_path / "tables", means, log_variance=log_variances, image=images)
    artifact = neighbours(embeddings=tables, search=DUPLICATES, output=tmp_path / "out")
    assert set(artifact.manifest.outputs) == {"table.txt", "rows.jsonl"}
    assert capsys.readouterr().out.startswith("0 groups with 0 of the 4 rows")


def test_without_images_the_command_that_writes_them_is_said(tmp_path, capsys):
    tables = write_tables(tmp_path / "tables", normal(4))
    arguments = {"embeddings": tables, "search": NEAREST, "query_name": ids(4)[0]}
    artifact = neighbours(**arguments, output=tmp_path / "out")
    assert set(artifact.manifest.outputs) == {"table.txt", "rows.jsonl"}
    message = capsys.readouterr().err
    assert "no contact sheet; " in message
    assert "--columns id,label,label_name,mean,image\n" in message


def test_a_damaged_result_is_not_shown(tmp_path):
    tables = write_tables(tmp_path / "tables", normal(4))
    arguments = {"embeddings": tables, "search": NEAREST, "query_name": ids(4)[0]}
    neighbours(**arguments, output=tmp_path / "out")
    text = (tmp_path / "out/table.txt").read_text()
    (tmp_path / "out/table.txt").write_text(text.replace("i", "j"))
    with pytest.raises(WorkError, match=r"table\.txt is damaged"):
        neighbours(**arguments, output=tmp_path / "out")


def test_the_output_is_not_the_directory_of_the_tables(tmp_path):
    tables = write_tables(tmp_path / "tables", normal(4))
    with pytest.raises(ConfigError, match="is the input 'embeddings'"):
        neighbours(embeddings=tables, search=NEAREST, query_name=ids(4)[0], output=tables)


def test_the_command_line_searches(cli, tmp_path):
    tables = write_tables(tmp_path / "tables", normal(9))
    arguments = ("pipeline", "neighbours", "--embeddings", tables)
    done = cli(*arguments, "--query", ids(9)[4], "--count", 2)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].split()[:2] == ["0", ids(9)[4]]
    assert len(done.stdout.splitlines()) == 5
    done = cli(*arguments, "--query", "nothing")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_search_imports_no_tensorflow(cli, tmp_path, monkeypatch):
    """A module of that name that cannot be imported is found first."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/tensorflow.py").write_text("raise ImportError('imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    tables = write_tables(tmp_path / "tables", normal(9))
    done = cli("pipeline", "neighbours", "--embeddings", tables, "--query", ids(9)[0])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("search", "settings", "option"),
    [
        (OUTLIERS, {"threshold": 0.5}, "--threshold has no effect on --outliers"),
        (OUTLIERS, {"background": "white"}, "--background has no effect on --outliers"),
        (DUPLICATES, {"background": "white"}, "--background has no effect on --duplicates"),
        (NEAREST, {"threshold": 0.0}, "--threshold has no effect on --query"),
    ],
)
def test_a_setting_without_an_effect_is_refused(tmp_path, search, settings, option):
    tables = write_tables(tmp_path / "tables", normal(4))
    with pytest.raises(ConfigError, match=f"^{option}; leave it out$"):
        neighbours(
            NeighboursConfig(**settings), embeddings=tables, search=search, query_name=ids(4)[0]
        )


@pytest.mark.parametrize("search", [OUTLIERS, DUPLICATES])
def test_a_model_without_an_effect_is_refused(tmp_path, search):
    tables = write_tables(tmp_path / "tables", normal(4))
    with pytest.raises(ConfigError, match=r"^--model has no effect on --\w+; leave it out$"):
        neighbours(embeddings=tables, search=search, model=tmp_path)

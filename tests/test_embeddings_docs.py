"""The lines of docs/embeddings.md that read tables with other programs run."""

import glob
import itertools
import json
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.model.embeddings import COLUMNS
from pipeline.embed.config import EmbedConfig
from pipeline.embed.stage import embed
from tests.conftest import ROOT

EMBEDDINGS = (ROOT / "docs" / "embeddings.md").read_text()
LINES = re.findall(r"^    ((?:pandas|polars|duckdb)\..*)$", EMBEDDINGS, re.M)
OF_ONE_SHARD = [line for line in LINES if "-of-" in line]
OF_ALL_SHARDS = [line for line in LINES if "-of-" not in line]
SECONDS = 120


def library(line: str) -> str:
    return line.partition(".")[0]


@pytest.fixture(scope="module")
def run_dir(examples_dir, model_dir, tmp_path_factory) -> Path:
    """A directory with runs/demo/embeddings: the tables of all splits, with all columns."""
    directory = tmp_path_factory.mktemp("run")
    config = EmbedConfig(columns=",".join(COLUMNS))
    output = directory / "runs/demo/embeddings"
    output.parent.mkdir(parents=True)
    embed(config, model=model_dir, pattern=str(examples_dir), output=output)
    return directory


def result(line: str) -> list[dict]:
    """The rows that a line of the documentation gives."""
    names = {"glob": glob, library(line): pytest.importorskip(library(line))}
    frame = eval(line, names)
    rows = frame.to_dicts() if library(line) == "polars" else frame.to_dict("records")
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value):
    return list(value) if hasattr(value, "tolist") and getattr(value, "shape", ()) else value


def spoil(path: Path, columns: set[str]) -> None:
    """Overwrites the parts of a Parquet file that hold some columns."""
    group = pq.read_metadata(path).row_group(0)
    data = bytearray(path.read_bytes())
    for number in range(group.num_columns):
        chunk = group.column(number)
        if chunk.path_in_schema.partition(".")[0] in columns:
            first = chunk.dictionary_page_offset or chunk.data_page_offset
            data[first : first + chunk.total_compressed_size] = (
                b"\xff" * chunk.total_compressed_size
            )
    path.write_bytes(data)


def test_each_library_has_a_line_for_one_shard_and_one_for_all():
    for lines in (OF_ONE_SHARD, OF_ALL_SHARDS):
        assert list(map(library, lines)) == ["pandas", "polars", "duckdb"]


@pytest.mark.parametrize("line", OF_ONE_SHARD, ids=library)
def test_a_shard_is_read_without_the_columns_that_are_not_asked_for(
    line, run_dir, tmp_path, monkeypatch
):
    """The other columns of the file cannot be read."""
    shutil.copytree(run_dir, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    (file,) = Path("runs/demo/embeddings").glob("*-test-*.parquet")
    expected = pq.read_table(file, columns=["id", "mean"]).to_pylist()
    spoil(file, set(COLUMNS) - {"id", "mean"})
    for other in set(Path("runs/demo/embeddings").iterdir()) - {file}:
        other.unlink()
    with pytest.raises((OSError, pa.ArrowException)):
        pq.read_table(file)
    assert result(line) == expected


@pytest.mark.parametrize("line", OF_ALL_SHARDS, ids=library)
def test_rows_of_all_shards_are_chosen(line, run_dir, monkeypatch):
    monkeypatch.chdir(run_dir)
    files = sorted(Path("runs/demo/embeddings").glob("*.parquet"))
    assert len(files) == 3
    rows = itertools.chain.from_iterable(pq.read_table(file).to_pylist() for file in files)
    expected = {row["id"] for row in rows if row["label_name"] == "Bag"}
    assert expected
    assert {row["id"] for row in result(line)} == expected


@pytest.fixture
def browser() -> Iterator:
    """A browser without a window."""
    webdriver = pytest.importorskip("selenium.webdriver")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location, driver_path = programs
    # A wide window, so that the columns of images are in sight; root has no sandbox.
    for argument in ("--headless=new", "--no-sandbox", "--window-size=3000,1000"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(driver_path))
    yield driver
    driver.quit()


@pytest.fixture
def atlas_url(run_dir) -> Iterator[str]:
    """The address where the command of the documentation shows the tables."""
    if shutil.which("embedding-atlas") is None:
        pytest.skip("embedding-atlas is not installed")
    (command,) = re.findall(r"^    (embedding-atlas .*)$", EMBEDDINGS, re.M)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    words = [
        each
        for word in shlex.split(command)
        for each in (sorted(glob.glob(word, root_dir=run_dir)) if "*" in word else [word])
    ]
    process = subprocess.Popen(
        [*words, "--host", "127.0.0.1", "--port", str(port)],
        cwd=run_dir,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = list(itertools.takewhile(lambda line: "CTRL+C" not in line, process.stdout))
    assert f":{port}" in "".join(lines)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.communicate()


def test_embedding_atlas_shows_the_rows_and_their_images(atlas_url, browser, run_dir):
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(browser, SECONDS, ignored_exceptions=[WebDriverException])
    # The server starts after it has printed its address.
    wait.until(lambda driver: driver.get(atlas_url) or True)
    counts = json.loads((run_dir / "runs/demo/embeddings/manifest.json").read_text())["counts"]
    files = sorted((run_dir / "runs/demo/embeddings").glob("*.parquet"))
    first = pq.read_table(files[0], columns=["id"])["id"][0].as_py()

    def text(driver) -> str:
        return driver.execute_script("return document.body.innerText")

    wait.until(lambda driver: f"{counts['rows']} points" in text(driver))
    wait.until(lambda driver: first in text(driver))
    widths = "return [...document.images].map(image => image.naturalWidth)"
    wait.until(lambda driver: driver.execute_script(widths).count(28) > 1)

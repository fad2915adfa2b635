import numpy as np
import pyarrow.parquet as pq
import pytest
from etils import epath

from components.figures.mosaic import to_bytes
from components.model.decode import decode
from components.model.vae import VAE
from pipeline.generate import writer
from pipeline.generate.writer import GeneratedImages

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(10, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def vae() -> VAE:
    return VAE(image_shape=(8, 6, 3), network="mlp", latents=3, widths=(4,), classes=3)


def images_of(vae, blocks) -> GeneratedImages:
    labels = np.arange(10) % 3
    return GeneratedImages(vae, 10, blocks, labels, ["bag", "bad\udcff"])


def contents(directory) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_files_and_table_hold_images_and_latents(vae, tmp_path):
    directory = epath.Path(tmp_path)
    writer.write(images_of(vae, [Z[:4], Z[4:8], Z[8:]]), directory)
    expected = to_bytes(decode(vae, Z, np.arange(10) % 3))
    np.testing.assert_array_equal(writer.read(directory, range(10)), expected)
    rows = pq.read_table(tmp_path / "latents.parquet")
    assert rows["id"].to_pylist() == [f"{number:06d}" for number in range(10)]
    np.testing.assert_array_equal(np.array(rows["z"].to_pylist(), np.float32), Z)
    assert rows["label_name"].to_pylist()[:3] == ["bag", "bad?", None]
    assert len(contents(tmp_path)) == 11


def test_complete_blocks_are_kept_and_others_are_written_again(vae, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    whole.mkdir()
    resumed.mkdir()
    writer.write(images_of(vae, [Z[:4], Z[4:8], Z[8:]]), epath.Path(whole))

    def interrupted():
        yield Z[:4]
        yield Z[4:8]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.write(images_of(vae, interrupted()), epath.Path(resumed))
    first, second = (writer.path_of(epath.Path(resumed), number) for number in (0, 5))
    kept = first.stat().mtime
    second.write_bytes(b"damaged")
    writer.write(images_of(vae, [Z[:4], Z[4:8], Z[8:]]), epath.Path(resumed))
    assert first.stat().mtime == kept
    assert contents(resumed) == contents(whole)

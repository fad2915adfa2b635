import keras
import numpy as np
import pytest
from etils import epath

from components.metrics import importance
from components.model.vae import VAE
from pipeline.evaluate import log_likelihood
from pipeline.evaluate.log_likelihood import LOG_LIKELIHOODS_FILE

IMAGES = np.random.default_rng(0).integers(0, 256, (230, 4, 4, 1), np.uint8)


@pytest.fixture(scope="module")
def model() -> VAE:
    keras.utils.set_random_seed(0)
    return VAE(image_shape=(4, 4, 1), network="mlp", latents=2, widths=(4,))


def estimate(model: VAE, directory) -> np.ndarray:
    return log_likelihood.estimate(
        model, IMAGES, samples=3, seed=0, directory=epath.Path(directory)
    )


def test_the_estimates_are_those_of_the_metric_and_are_kept(model, tmp_path):
    blocks = importance.log_likelihoods(model, IMAGES, samples=3, seed=0)
    expected = np.concatenate(list(blocks))
    np.testing.assert_array_equal(estimate(model, tmp_path), expected)
    np.testing.assert_array_equal(np.load(tmp_path / LOG_LIKELIHOODS_FILE), expected)


@pytest.mark.parametrize("blocks_done", [0, 1, 2, 3])
def test_an_interrupted_estimate_continues_with_the_same_result(
    model, tmp_path, monkeypatch, blocks_done
):
    expected = np.concatenate(list(importance.log_likelihoods(model, IMAGES, samples=3, seed=0)))
    real, computed = importance.log_likelihoods, []

    def interrupted(*arguments, **options):
        for number, block in enumerate(real(*arguments, **options)):
            if number == blocks_done:
                raise KeyboardInterrupt
            yield block

    def counted(*arguments, **options):
        for block in real(*arguments, **options):
            computed.append(len(block))
            yield block

    monkeypatch.setattr(importance, "log_likelihoods", interrupted)
    if blocks_done < 3:
        with pytest.raises(KeyboardInterrupt):
            estimate(model, tmp_path)
    else:
        estimate(model, tmp_path)
    monkeypatch.setattr(importance, "log_likelihoods", counted)
    np.testing.assert_array_equal(estimate(model, tmp_path), expected)
    assert computed == [100, 100, 30][blocks_done:]


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no array",
        np.arange(100),
        np.zeros((100, 1)),
        np.full(100, np.nan),
        np.zeros(99),
        np.zeros(300),
    ],
    ids=["empty", "text", "integers", "shape", "nan", "part of a block", "too many"],
)
def test_a_damaged_file_is_not_continued(model, tmp_path, capsys, damaged):
    path = tmp_path / LOG_LIKELIHOODS_FILE
    if isinstance(damaged, bytes):
        path.write_bytes(damaged)
    else:
        np.save(path, damaged)
    assert np.isfinite(estimate(model, tmp_path)).all()
    assert "is damaged; estimating the log-likelihoods from the start" in capsys.readouterr().err

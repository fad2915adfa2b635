import numpy as np
import pytest

from components.base import memory
from components.base.errors import ConfigError, WorkError
from pipeline.neighbours import tables
from pipeline.neighbours.config import NeighboursConfig
from pipeline.neighbours.query import RowQuery
from pipeline.neighbours.searches import (
    DuplicateSearch,
    NearestSearch,
    OutlierSearch,
    default_threshold,
)
from pipeline.neighbours.tables import EmbeddingRows
from tests.pipeline.neighbours.written_tables import ids, normal, write_tables


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(tables, "_BLOCK_ROWS", 7)


def test_the_neighbors_are_those_of_the_definition_without_the_query(tmp_path):
    means = normal(200)
    means[[5, 90]] = means[40]
    rows = EmbeddingRows.open(write_tables(tmp_path / "out", means, files=3))
    found = NearestSearch(RowQuery(ids(200)[40], 40), count=12).run(rows)
    distances = np.linalg.norm(means.astype(np.float64) - means[40], axis=1)
    order = [row for row in np.argsort(distances, kind="stable") if row != 40][:12]
    ((query, *matches),) = found.groups
    assert (query.row, query.values["distance"]) == (40, 0.0)
    assert [match.row for match in matches] == order
    assert order[:2] == [5, 90]
    np.testing.assert_allclose([match.values["distance"] for match in matches], distances[order])
    assert [match.values["id"] for match in matches] == [ids(200)[row] for row in order]


def test_there_are_no_more_neighbors_than_other_rows(tmp_path):
    rows = EmbeddingRows.open(write_tables(tmp_path / "out", normal(3)))
    found = NearestSearch(RowQuery(ids(3)[1], 1), count=12).run(rows)
    assert len(found.groups[0]) == 3


def test_the_outliers_have_the_highest_scores_and_unknown_scores_are_none(tmp_path):
    scores = np.random.default_rng(1).permutation(100).astype(np.float32)
    given = [None if score in (99, 97) else float(score) for score in scores]
    given[int(np.flatnonzero(scores == 96)[0])] = float("nan")
    rows = EmbeddingRows.open(
        write_tables(tmp_path / "out", normal(100), outlier_score=given, rate=scores)
    )
    found = OutlierSearch(4).run(rows)
    assert [match.values["outlier_score"] for match in found.groups[0]] == [98, 95, 94, 93]
    assert [match.values["rate"] for match in found.groups[0]] == [98, 95, 94, 93]
    assert [scores[match.row] for match in found.groups[0]] == [98, 95, 94, 93]


def test_scores_that_are_all_unknown_are_explained(tmp_path):
    rows = EmbeddingRows.open(write_tables(tmp_path / "out", normal(5), outlier_score=[None] * 5))
    with pytest.raises(ConfigError, match=r"outlier_score of .* is empty; .*--training_examples"):
        OutlierSearch(3).run(rows)


def with_deviations(directory, means, deviations) -> EmbeddingRows:
    """Tables of posteriors with the same standard deviations for all rows, by latent dimension."""
    log_variances = np.tile(2 * np.log(deviations), (len(means), 1)).astype(np.float32)
    return EmbeddingRows.open(write_tables(directory, means, files=2, log_variance=log_variances))


def test_near_duplicates_are_within_a_posterior_standard_deviation(tmp_path):
    """Row 3 is 0.9 deviations from row 7, and row 5 is 1.1 deviations from row 9."""
    deviations = np.array([0.1, 0.01, 1.0])
    means = (np.arange(30)[:, np.newaxis] * 50 * deviations).astype(np.float32)
    means[3] = means[7] + [0, 0.009, 0]
    means[5] = means[9] + [0.11, 0, 0]
    means[20] = means[25]
    found = DuplicateSearch(1.0).run(with_deviations(tmp_path / "out", means, deviations))
    assert found.is_grouped
    assert [[match.row for match in group] for group in found.groups] == [[20, 25], [3, 7]]
    assert [match.values["distance"] for match in found.groups[0]] == [0, 0]
    assert found.groups[1][0].values["distance"] == pytest.approx(0.9, rel=1e-3)
    assert found.groups[1][1].values["id"] == ids(30)[7]
    assert "2 groups with 4 of the 30 rows" in found.summary


def test_the_unit_is_the_root_of_the_mean_posterior_variance(tmp_path):
    means = np.array([[0.0], [1.9]], np.float32)
    log_variances = np.log(np.array([[1.0], [7.0]])).astype(np.float32)
    rows = EmbeddingRows.open(write_tables(tmp_path / "out", means, log_variance=log_variances))
    (group,) = DuplicateSearch(1.0).run(rows).groups
    assert group[0].values["distance"] == pytest.approx(1.9 / 2)
    assert DuplicateSearch(0.94).run(rows).groups == []


def test_the_default_threshold_is_at_most_half_a_nat_and_an_error_of_31_percent():
    """What docs/embeddings.md says of two posteriors whose means are one deviation apart."""
    apart = default_threshold(np.arange(0, 1000, 50, dtype=np.float32)[:, np.newaxis])
    grid, step = np.linspace(-12, 13, 100_001, retstep=True)
    first, second = (np.exp(-np.square(grid - mean) / 2) for mean in (0, apart))
    first, second = first / (first.sum() * step), second / (second.sum() * step)
    divergence = (first * np.log(first / second)).sum() * step
    assert divergence == pytest.approx(0.5)
    # The best guess from one draw is the more probable posterior.
    error = np.minimum(first, second).sum() * step / 2
    assert error == pytest.approx(0.31, abs=0.005)


def test_with_two_latents_chance_makes_few_duplicates_by_default(tmp_path):
    """Rows of equal density, a hundredth of a deviation apart, and five near copies."""
    rng = np.random.default_rng(0)
    means = rng.uniform(0, 0.6, (3000, 2)).astype(np.float32)
    copies = means[::600] + np.float32(1e-5)
    rows = with_deviations(tmp_path / "out", np.concatenate([means, copies]), np.ones(2))
    assert NeighboursConfig().threshold is None
    found = DuplicateSearch(None).run(rows)
    pairs = [sorted(match.row for match in group) for group in found.groups[:5]]
    assert sorted(pairs) == [[600 * number, 3000 + number] for number in range(5)]
    # 0.7 % by chance, and half of them in pairs.
    assert 0 < sum(map(len, found.groups[5:])) < 0.012 * 3000
    assert sum(map(len, DuplicateSearch(1.0).run(rows).groups)) == 3005
    assert "each at most 0.000" in found.summary


def test_without_enough_memory_the_search_says_so(tmp_path, monkeypatch):
    rows = with_deviations(tmp_path / "out", normal(30), np.ones(3))
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    with pytest.raises(WorkError, match=r"30 rows need 1\.44 kB of memory, but 1\.00 kB are free"):
        DuplicateSearch(1.0).run(rows)


def test_variances_that_vanish_are_explained(tmp_path):
    log_variances = np.full((6, 3), -3000, np.float32)
    rows = EmbeddingRows.open(write_tables(tmp_path / "out", normal(6), log_variance=log_variances))
    with pytest.raises(WorkError, match="too small or too large"):
        DuplicateSearch(1.0).run(rows)


def test_posteriors_of_any_width_are_one_point(tmp_path):
    log_variances = np.full((6, 3), 3000, np.float32)
    rows = EmbeddingRows.open(write_tables(tmp_path / "out", normal(6), log_variance=log_variances))
    (group,) = DuplicateSearch(1.0).run(rows).groups
    assert len(group) == 6

import numpy as np

from pipeline.compare import page
from pipeline.compare.differences import compare
from tests.pipeline.compare.made_runs import made_run
from tests.pipeline.evaluate.report.test_page import Structure

HARD = np.linspace(-300, -200, 11)


def render(tmp_path, *runs) -> str:
    curves = tmp_path / "curves.png"
    curves.write_bytes(b"picture")
    return page.render(compare(runs), runs, curves=curves, curves_caption="Losses.")


def test_names_and_settings_of_strangers_are_escaped(tmp_path):
    html = render(
        tmp_path,
        made_run("<script>alert(1)</script>", HARD, config={"x": "<b>"}),
        made_run("b", HARD, config={"x": "{{ 7 * 7 }}"}),
    )
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "&lt;b&gt;" in html
    assert "{{ 7 * 7 }}" in html
    Structure(html)


def test_the_page_has_the_scores_and_leaves_out_what_there_is_not(tmp_path):
    html = render(tmp_path, made_run("a", HARD), made_run("b", HARD + 1))
    assert "−250.00 ± " in html
    assert "+1.00 ± 0.00 * (paired)" in html
    assert "data:image/png;base64,cGljdHVyZQ==" in html
    assert "Settings that differ" not in html
    assert "<h2>Samples" not in html  # These evaluations have no figures.
    assert 'class="note"' not in html


def test_what_was_not_paired_is_noted(tmp_path):
    html = render(tmp_path, made_run("a", HARD), made_run("b", HARD, images="others"))
    assert '<p class="note">b was evaluated on other images than a' in html

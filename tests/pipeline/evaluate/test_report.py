from pipeline.evaluate import report

SCORES = {"dataset": "a<b", "preset": "mlp", "split": "test", "examples": 1234} | {
    name: {"mean": mean, "half_width_95": 0.5}
    for name, mean in {"elbo": -30.0, "rate": 10.0, "distortion": 20.0}.items()
}
COUNTS = {"parameters": 5678, "steps": 90, "precision": "float32", "devices": ["GPU", "GPU"]}


def render(notes: list[str]) -> str:
    model = {"counts": COUNTS, "config": {"latents": 2}}
    return report.render(SCORES, model, {"notes": notes})


def test_numbers_and_settings_are_shown():
    page = render([])
    for part in ("-30.00", "-30.50 to -29.50", "5,678 parameters", "1,234 test", "2 x GPU"):
        assert part in page
    assert "<tr><td>latents<td>2" in page


def test_texts_are_escaped_and_notes_are_seen():
    page = render(["drawn & not real"])
    assert "a&lt;b" in page
    assert "a<b" not in page
    assert '<p class="note">drawn &amp; not real</p>' in page
    assert 'class="note">' not in render([])

import re

import pytest

from components.base.errors import WorkError
from components.sources import tfds_source
from pipeline.evaluate.config import EvaluateConfig
from pipeline.run import run
from tests.conftest import tiny_prepare_config, tiny_train_config


def test_the_three_stages_run_once_and_are_skipped_the_second_time(tmp_path, capsys):
    def call(**options) -> str:
        return run(
            tmp_path / "run",
            prepare_config=tiny_prepare_config(),
            preset="mlp",
            train_config=tiny_train_config(),
            evaluate_config=EvaluateConfig(),
            **options,
        )

    summary = call()
    messages = capsys.readouterr().err
    stages = ("prepare", "train", "evaluate")
    assert all(line.startswith(s) for s, line in zip(stages, summary.splitlines(), strict=False))
    assert "synthetic_garments, preset mlp, test ELBO -" in summary
    assert re.search(r"\ntest PSNR of reconstructions \d+\.\d\d ± \d\.\d\d dB\n", summary)
    assert re.search(r"\naccuracy of the nearest neighbors of embeddings \d+\.\d\d%\n", summary)
    assert f"report: {tmp_path / 'run/evaluation/report.html'}" in summary
    published = sorted(p.name for p in (tmp_path / "run").iterdir())
    assert published == ["evaluation", "examples", "model"]
    assert "measured on 100 test examples, 4 draws of z each" in summary.splitlines()
    # A run of two epochs could become better, which is said once: as a warning when it ends, and by
    # the summary of a later call, in which nothing ends.
    finding = "so the model can become better: train for more epochs"
    assert (messages.count(finding), summary.count(finding)) == (1, 0)
    later = call()
    assert later.splitlines()[-2:] == summary.splitlines()[-2:]
    assert later.count(finding) == 1
    messages = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in messages] == [f"{s}: up to date" for s in stages]
    call(verify=True)
    for name in ("evaluation/report.html", "model/metrics.jsonl", "examples/statistics.json"):
        path = tmp_path / "run" / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + b"x")
        call()  # Without `verify`, only sizes are compared.
        with pytest.raises(WorkError, match=f"{path} is damaged or belongs to another run"):
            call(verify=True)
        path.write_bytes(content)


def test_the_summary_and_the_report_name_the_dataset_that_auto_became(tmp_path, monkeypatch):
    # Nothing listens on this port.
    answers = tfds_source._answers
    monkeypatch.setattr(tfds_source, "_answers", lambda url: answers("http://127.0.0.1:9/"))
    summary = run(
        tmp_path / "run",
        prepare_config=tiny_prepare_config(dataset="auto", data_dir=str(tmp_path / "none")),
        preset="mlp",
        train_config=tiny_train_config(),
        evaluate_config=EvaluateConfig(),
    )
    assert "\nnote: dataset auto became synthetic_garments (drawn images), because " in summary
    assert "\nsynthetic_garments, preset mlp, test ELBO -" in summary
    report = (tmp_path / "run/evaluation/report.html").read_text()
    assert "dataset auto became synthetic_garments (drawn images)" in report
    assert "<h1>synthetic_garments" in report

"""The benchmarks run, and what they print is a table; no figure is looked at."""

from benchmarks import rows
from benchmarks.rows import Figures, Row


def cells(text: str) -> dict[str, list[str]]:
    """The rows of all Markdown tables in a text, by their first cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in split}


def test_the_command_names_the_machine_and_compares(cli, tmp_path):
    done = cli(
        "benchmarks.prepare", "--only", "memory", "--images", 700, "--repeats", 1,
        "--data_dir", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = cells(done.stdout)
    assert {"CPU", "memory", "Python", "one core's speed", "sizes"} <= shown.keys()
    images, rate, *_ = shown["ours, 8,571 of them train"]
    assert images == "10,000"
    assert float(rate.replace(",", "")) > 0
    *_, largest, together, _, remark = shown["the second / the first"]
    assert 0.5 < float(largest) < 2
    assert 0.5 < float(together) < 2
    assert remark.startswith("<= 1.3")


def test_an_unknown_section_is_refused(cli):
    done = cli("benchmarks.prepare", "--only", "wrote")
    assert done.returncode == 2
    assert "nearest: write" in done.stderr


def test_a_section_compares_peers_with_what_is_ours():
    def figures(rate: float) -> Figures:
        return Figures(1000, rate, 0.0, 2.5, 3e6, 4e6)

    given = [
        Row("ours", "prepare", {}, is_ours=True),
        Row("slower", "peer", {}),
        Row("broken", "peer", {}),
    ]
    results = [figures(6000.0), figures(1000.0), "failed: no disk"]
    text = rows.section("Writing", given, results, remarks=["as asked"], cores=[2, 1, 1])
    shown = cells(text)
    assert shown["ours"] == ["1,000", "6,000", "3,000", "2.5", "3", "4", "", "as asked"]
    assert shown["slower"] == ["1,000", "1,000", "1,000", "2.5", "3", "4", "3.00", ""]
    assert shown["broken"] == [*[""] * 7, "failed: no disk"]
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1


def test_a_task_that_fails_costs_its_row_alone(tmp_path):
    given = [
        Row("absent", "pillow_loop", {"no_such": 1}),
        Row("skipped", "pillow_loop", {}, missing="skipped: not there"),
        Row(
            "written", "write_idx", {"output": str(tmp_path / "idx"), "images": 70, "data_dir": ""}
        ),
    ]
    failed, skipped, written = rows.measure(given, repeats=1, for_memory=True)
    assert failed.startswith("failed: TypeError")
    assert skipped == "skipped: not there"
    assert written.images == 70
    assert written.largest > 10e6
    assert not (tmp_path / "idx").exists()

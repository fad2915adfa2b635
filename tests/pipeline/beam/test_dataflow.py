import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from components.base.errors import ConfigError
from pipeline.beam import dataflow

CLOUD = ["--project=project", "--region=region", "--temp_location=gs://bucket/tmp"]


def refusal(*options: str) -> str:
    with pytest.raises(ConfigError) as caught:
        dataflow.check(PipelineOptions(["--runner=DataflowRunner", *options]))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("runner", [[], ["--runner=FlinkRunner"], ["--runner=PortableRunner"]])
def test_other_runners_are_not_checked(runner):
    dataflow.check(PipelineOptions(runner))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (CLOUD[1:], "Missing required option: project."),
        (CLOUD[:1] + CLOUD[2:], "Missing required option: region."),
        (CLOUD[:2], "Missing GCS path option: temp_location."),
        ([*CLOUD[:2], "--temp_location=/tmp"], "Invalid GCS path (/tmp)"),
        ([*CLOUD, "--project=123"], "Invalid Project ID (123)"),
    ],
)
def test_a_missing_or_wrong_option_is_named(options, expected, capfd):
    message = refusal(*options)
    assert message.startswith("DataflowRunner: ")
    assert expected in message
    assert capfd.readouterr() == ("", "")


def test_workers_without_the_code_are_refused():
    assert "would not have this project; pass --setup_file=./pyproject.toml" in refusal(*CLOUD)


def test_a_setup_file_must_be_usable(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pyproject.toml", "./pyproject.toml", "/", "./setup.cfg"):
        assert refusal(*CLOUD, f"--setup_file={name}") == (
            f"--setup_file: {name} is not a file named pyproject.toml or setup.py"
        )
    (tmp_path / "pyproject.toml").touch()
    assert refusal(*CLOUD, "--setup_file=pyproject.toml").endswith(": ./pyproject.toml")


def test_a_missing_package_is_named():
    message = refusal(*CLOUD, "--sdk_container_image=image")
    assert message.startswith("DataflowRunner needs packages that are not installed (google.auth, ")
    assert message.endswith("; install apache-beam[gcp]")

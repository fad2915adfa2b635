"""The documentation and the example jobs agree with the code and with each other."""

import dataclasses
import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.base.errors import ConfigError
from components.model.registry import HEADS, LIKELIHOODS, NETWORKS, PRIORS
from pipeline.evaluate.config import EvaluateConfig
from tests.conftest import ROOT
from tests.test_architecture import MAY_IMPORT
from trainer import __main__ as command_line
from trainer import stage, verify
from trainer.choices import OBJECTIVES
from trainer.config import (
    RunOptions,
    TrainConfig,
    VerifyOptions,
    load_config,
    preset_names,
)
from trainer.devices.hosts import Host, host

MARKDOWN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TRAINING = (ROOT / "docs" / "training.md").read_text()
MODELS = (ROOT / "docs" / "models.md").read_text()
REPORT = (ROOT / "docs" / "report.md").read_text()
SLURM = ROOT / "docs" / "slurm.sbatch"
SERVICE, JOB = yaml.safe_load_all((ROOT / "docs" / "kubernetes.yaml").read_text())
POD = JOB["spec"]["template"]["spec"]
OTHER_TOOLS_OPTIONS = {"logdir", "require-hashes", "no-deps"}
SETTINGS = [
    field
    for settings in (TrainConfig, RunOptions, VerifyOptions, EvaluateConfig)
    for field in dataclasses.fields(settings)
]
# The header of the table of each kind of part in docs/models.md.
PART_TABLES = {
    "| likelihood |": LIKELIHOODS,
    "| head |": HEADS,
    "| prior |": PRIORS,
    "| network |": NETWORKS,
    "| objective |": OBJECTIVES,
}


def commands(text: str) -> list[list[str]]:
    """The indented commands that run the trainer, split into words as a shell does it."""
    lines = re.findall(r"^ {4,}((?:.*\\\n)*.*)", text, re.M)
    return [shlex.split(line.replace("\\\n", "")) for line in lines if "-m trainer" in line]


def table(header: str, text: str = TRAINING) -> list[list[str]]:
    """The cells of the table whose header starts with `header`."""
    rows = text[text.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in rows]


@pytest.fixture
def parsed_call(monkeypatch) -> Callable[[list[str]], tuple[Any, ...]]:
    """Returns a function that parses a trainer's arguments, and returns the call they lead to.

    The call itself is not made.
    """
    calls: list[tuple[Any, ...]] = []

    def record(*arguments: Any, **paths: Any) -> str:
        calls.append((*arguments, paths))
        return ""

    monkeypatch.setattr(stage, "run", record)
    monkeypatch.setattr(stage, "dry_run", record)
    monkeypatch.setattr(verify, "verify", record)

    def call(arguments: list[str]) -> tuple[Any, ...]:
        monkeypatch.setattr(sys, "argv", ["trainer", *arguments])
        command_line.main()
        return calls.pop()

    return call


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_explained_with_its_choices(setting):
    text = TRAINING + MODELS + REPORT
    # A truth value has a flag for what is not its default.
    option = f"no_{setting.name}" if setting.default is True else setting.name
    assert re.search(rf"--{option}\b", text)
    spans = " ".join(re.findall(r"`([^`]+)`", text)).split()
    assert set(setting.metadata["choices"] or ()) <= set(spans)


def test_every_named_option_exists(cli):
    stages = [["pipeline", stage] for stage in ("run", "evaluate", "generate")]
    parsers = (["trainer"], ["trainer", "verify"], *stages)
    help_texts = "".join(cli(*words, "--help").stdout for words in parsers)
    named = set(re.findall(r"--([a-z][a-z_-]*)", TRAINING + MODELS + REPORT))
    assert named - set(re.findall(r"--([a-z_]+)", help_texts)) == OTHER_TOOLS_OPTIONS


@pytest.mark.parametrize("command", commands(TRAINING + MODELS), ids=" ".join)
def test_every_command_is_accepted(command, parsed_call, monkeypatch):
    start = command.index("python")
    for setting in command[:start]:
        monkeypatch.setenv(*setting.split("=", 1))
    assert command[start : start + 3] == ["python", "-m", "trainer"]
    parsed_call(command[start + 3 :])
    host()


def test_the_commands_of_the_two_terminals_are_the_hosts_of_one_run(monkeypatch):
    first, second = (words for words in commands(TRAINING) if words[0].startswith("TF_CONFIG="))
    assert first[1:] == second[1:]
    for index, words in enumerate((first, second)):
        monkeypatch.setenv(*words[0].split("=", 1))
        assert host() == Host(index, 2)


@pytest.mark.parametrize("header", PART_TABLES)
def test_the_table_of_a_kind_of_part_has_all_names_and_the_default_first(header):
    names = [row[0].strip("`") for row in table(header, MODELS)]
    assert sorted(names) == sorted(PART_TABLES[header])
    assert names[0] == getattr(TrainConfig(), header.strip("| "))


@pytest.mark.parametrize("row", table("| options |", MODELS), ids=lambda row: row[0])
def test_what_does_not_go_together_is_refused(row, parsed_call):
    with pytest.raises(ConfigError):
        parsed_call(["--examples", "examples", "--dry_run", *shlex.split(row[0].strip("`"))])


def test_the_presets_match_their_descriptions():
    rows = {row[0].strip("`"): row for row in table("| preset |")}
    assert sorted(rows) == preset_names()
    for name, (_, network, latents, epochs, batch, optimizer, rate) in rows.items():
        config = load_config(name)
        widths = ",".join(map(str, config.widths)) or "that suit the images"
        assert network.startswith(f"`{config.network}`, widths {widths}:") or network.endswith(
            f" {widths}"
        )
        assert (int(latents), int(epochs)) == (config.latents, config.epochs)
        assert int(batch) == config.batch_size
        assert optimizer == f"`{config.optimizer}`"
        steps = f"{config.warmup_steps} warm-up steps"
        assert rate == f"{config.learning_rate}, `{config.schedule}`, {steps}"


def test_the_readme_lists_all_presets():
    readme = (ROOT / "README.md").read_text()
    assert sorted(row[0].strip("`") for row in table("| preset |", readme)) == preset_names()
    (choices,) = re.findall(r"`PRESET=([\w|]+)`", readme)
    assert sorted(choices.split("|")) == preset_names()


def test_the_scaled_settings_follow_the_square_root_rule():
    mlp, *others = (load_config(name) for name in ("mlp", "conv", "keras_conv"))
    rows = table("| GPUs |")
    assert [int(row[0]) for row in rows] == [1, 2, 4, 8]
    for row in rows:
        gpus, *cells, warmup_steps = map(float, row)
        for config, (batch, rate) in zip(
            (mlp, *others), (cells[:2], cells[2:], cells[2:]), strict=True
        ):
            assert batch == gpus * config.batch_size
            assert rate == pytest.approx(math.sqrt(gpus) * config.learning_rate, rel=0.02)
            assert warmup_steps == math.ceil(config.warmup_steps / gpus)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a Markdown text."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", MARKDOWN, ids=lambda path: path.name)
def test_every_link_has_a_target(document):
    for name, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", document.read_text()):
        target = document.parent / name if name else document
        assert target.exists(), name
        assert not anchor or anchor in anchors(target.read_text()), f"{name}#{anchor}"


@pytest.mark.parametrize("document", MARKDOWN, ids=lambda path: path.name)
def test_every_named_path_exists(document):
    folders = "components|trainer|pipeline|benchmarks|tests|docs"
    for path in re.findall(rf"`((?:{folders})/[\w./-]*)`", document.read_text()):
        assert (ROOT / path).exists(), path


def test_the_table_of_folders_states_the_import_rules():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    rules = {}
    for line in lines:
        folder, _, allowed = line.strip("|").split("|")
        parent = ROOT / folder.strip(" `").partition("/")[0]
        names = re.findall(r"`([^`]+)`", allowed)
        # The table names the folders of `components/` without their parent.
        paths = [name if (ROOT / name).exists() else f"{parent.name}/{name}" for name in names]
        rules[folder.strip(" `")] = set(paths)
    assert rules == MAY_IMPORT


def test_every_slurm_task_gets_its_host_index(tmp_path, parsed_call, monkeypatch):
    tasks = run_slurm(tmp_path, exit_code=0)
    assert [host_of(task, monkeypatch) for task in tasks] == [Host(0, 2), Host(1, 2)]
    workers = [json.loads(task["TF_CONFIG"])["cluster"]["worker"] for task in tasks]
    assert workers == [["node-a:21234", "node-b:21234"]] * 2
    assert tasks[0]["arguments"][:2] == ["-m", "trainer"]
    preset, config, _ = parsed_call(tasks[0]["arguments"][2:])
    assert_scaled_to_eight_gpus(preset, config)
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize(("exit_code", "is_requeued"), [(75, True), (1, False), (2, False)])
def test_slurm_requeues_a_job_only_after_exit_code_75(tmp_path, exit_code, is_requeued):
    run_slurm(tmp_path, exit_code=exit_code)
    assert (tmp_path / "requeued").exists() == is_requeued


def run_slurm(directory: Path, *, exit_code: int) -> list[dict[str, Any]]:
    """Runs the script with fakes of Slurm's commands and of the trainer.

    Returns:
      For each task, the environment variable TF_CONFIG and the trainer's arguments.
    """
    trainer = f"""import json, os, sys
task = {{"TF_CONFIG": os.environ["TF_CONFIG"], "arguments": sys.argv[1:]}}
open(f"task-{{os.environ['SLURM_PROCID']}}.json", "w").write(json.dumps(task))
sys.exit({exit_code})
"""
    # Like the real srun: it takes the options before the command as its own, and exits with the
    # highest exit code of all tasks.
    srun = """while [[ $1 == --* ]]; do shift; done
highest=0
for task in 0 1; do
  SLURM_PROCID=$task "$@"; code=$?
  if ((code > highest)); then highest=$code; fi
done
exit $highest
"""
    scontrol = """case "$*" in
"show hostnames node-[a-b]") printf 'node-a\\nnode-b\\n' ;;
"requeue 1234") touch requeued ;;
*) exit 3 ;;
esac
"""
    files = {
        ".venv/bin/python": f"#!{sys.executable}\n{trainer}",
        "bin/srun": f"#!/bin/bash\n{srun}",
        "bin/scontrol": f"#!/bin/bash\n{scontrol}",
    }
    for name, text in files.items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "1234",
        "SLURM_JOB_NODELIST": "node-[a-b]",
        "SLURM_CPUS_PER_TASK": "16",
    }
    done = subprocess.run(["bash", SLURM], cwd=directory, env=environment, check=False)
    assert done.returncode == exit_code
    return [json.loads(path.read_text()) for path in sorted(directory.glob("task-*.json"))]


def host_of(task: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Host:
    """The host that the trainer takes a task for."""
    monkeypatch.setenv("TF_CONFIG", task["TF_CONFIG"])
    return host()


def assert_scaled_to_eight_gpus(preset: str, config: TrainConfig) -> None:
    """Asserts the settings of the table's last row: two hosts with four GPUs each."""
    _, _, _, batch, rate, warmup_steps = map(float, table("| GPUs |")[-1])
    assert preset == "conv"
    assert (config.batch_size, config.learning_rate) == (batch, rate)
    assert config.warmup_steps == warmup_steps


def test_every_pod_gets_its_host_index(monkeypatch):
    index, tf_config = POD["containers"][0]["env"]
    assert index["valueFrom"]["fieldRef"]["fieldPath"] == (
        "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    )
    num_pods = JOB["spec"]["completions"]
    assert JOB["spec"]["parallelism"] == num_pods
    for number in range(num_pods):
        text = tf_config["value"].replace(f"$({index['name']})", str(number))
        assert host_of({"TF_CONFIG": text}, monkeypatch) == Host(number, num_pods)
        worker = json.loads(text)["cluster"]["worker"][number]
        # The DNS name of an indexed Job's pod below a headless Service.
        assert worker.startswith(f"{JOB['metadata']['name']}-{number}.{POD['subdomain']}:")


def test_the_service_selects_the_pods_of_the_job():
    assert SERVICE["metadata"]["name"] == POD["subdomain"]
    assert SERVICE["spec"]["clusterIP"] == "None"
    assert SERVICE["spec"]["selector"] == {"job-name": JOB["metadata"]["name"]}


def test_a_pod_runs_the_trainer_and_exit_code_75_does_not_count(parsed_call):
    (container,) = POD["containers"]
    assert container["command"] == ["python", "-m", "trainer"]
    preset, config, _ = parsed_call(container["args"])
    assert_scaled_to_eight_gpus(preset, config)
    actions = {
        code: rule["action"]
        for rule in JOB["spec"]["podFailurePolicy"]["rules"]
        if "onExitCodes" in rule and rule["onExitCodes"]["containerName"] == container["name"]
        for code in rule["onExitCodes"]["values"]
    }
    assert actions == {2: "FailJob", 75: "Ignore"}
    assert POD["restartPolicy"] == "Never"

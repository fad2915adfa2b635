"""Is what docs/training.md, docs/slurm.sbatch and docs/kubernetes.yaml say so?"""

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

from tests.conftest import ROOT
from trainer import __main__ as command_line
from trainer import stage, verify
from trainer.config import (
    RunOptions,
    TrainConfig,
    VerifyOptions,
    load_config,
    preset_names,
)
from trainer.devices.hosts import Host, host

TRAINING = (ROOT / "docs" / "training.md").read_text()
SLURM = ROOT / "docs" / "slurm.sbatch"
SERVICE, JOB = yaml.safe_load_all((ROOT / "docs" / "kubernetes.yaml").read_text())
POD = JOB["spec"]["template"]["spec"]
OTHERS_OPTIONS = {"logdir", "require-hashes", "no-deps"}
SETTINGS = [f for cls in (TrainConfig, RunOptions, VerifyOptions) for f in dataclasses.fields(cls)]


def commands(text: str) -> list[list[str]]:
    """The indented lines that call the trainer, as a shell takes them apart."""
    lines = re.findall(r"^ {4,}((?:.*\\\n)*.*)", text, re.M)
    return [shlex.split(line.replace("\\\n", "")) for line in lines if "-m trainer" in line]


def table(header: str) -> list[list[str]]:
    """The cells of the table that begins so."""
    rows = TRAINING[TRAINING.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.fixture
def called(monkeypatch) -> Callable[[list[str]], tuple[Any, ...]]:
    """Gives the trainer a command's arguments; returns what it would do with them, undone."""
    calls: list[tuple[Any, ...]] = []

    def run(preset: str, config: TrainConfig, **paths: Any) -> None:
        calls.append((preset, config, paths))

    def others(*arguments: Any, **paths: Any) -> str:
        calls.append((*arguments, paths))
        return ""

    monkeypatch.setattr(stage, "run", run)
    monkeypatch.setattr(stage, "dry_run", others)
    monkeypatch.setattr(verify, "verify", others)

    def call(arguments: list[str]) -> tuple[Any, ...]:
        monkeypatch.setattr(sys, "argv", ["trainer", *arguments])
        command_line.main()
        return calls.pop()

    return call


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_explained_with_its_choices(setting):
    assert re.search(rf"--{setting.name}\b", TRAINING)
    spans = " ".join(re.findall(r"`([^`]+)`", TRAINING)).split()
    assert set(setting.metadata["choices"] or ()) <= set(spans)


def test_every_option_named_is_one(cli):
    parsers = (["trainer"], ["trainer", "verify"], ["pipeline", "prepare"])
    shown = "".join(cli(*words, "--help").stdout for words in parsers)
    named = set(re.findall(r"--([a-z][a-z_-]*)", TRAINING))
    assert named - set(re.findall(r"--([a-z_]+)", shown)) == OTHERS_OPTIONS


@pytest.mark.parametrize("command", commands(TRAINING), ids=" ".join)
def test_every_command_is_understood(command, called, monkeypatch):
    start = command.index("python")
    for setting in command[:start]:
        monkeypatch.setenv(*setting.split("=", 1))
    assert command[start : start + 3] == ["python", "-m", "trainer"]
    called(command[start + 3 :])
    host()


def test_the_two_terminals_are_the_hosts_of_one_run(monkeypatch):
    first, second = (words for words in commands(TRAINING) if words[0].startswith("TF_CONFIG="))
    assert first[1:] == second[1:]
    for index, words in enumerate((first, second)):
        monkeypatch.setenv(*words[0].split("=", 1))
        assert host() == Host(index, 2)


def test_presets_are_as_described():
    rows = {row[0].strip("`"): row for row in table("| preset |")}
    assert sorted(rows) == preset_names()
    for name, (_, network, latents, epochs, batch, optimizer, rate) in rows.items():
        config = load_config(name)
        widths = ",".join(map(str, config.widths))
        assert network.startswith(f"`{config.network}`, widths {widths}:") or network.endswith(
            f" {widths}"
        )
        assert (int(latents), int(epochs)) == (config.latents, config.epochs)
        assert int(batch) == config.batch_size
        assert optimizer == f"`{config.optimizer}`"
        steps = f"{config.warmup_steps} warm-up steps"
        assert rate == f"{config.learning_rate}, `{config.schedule}`, {steps}"


def test_the_scaled_presets_follow_the_rule():
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


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)", TRAINING):
        assert (ROOT / "docs" / target).exists(), target


def test_every_slurm_task_is_told_which_host_it_is(tmp_path, called, monkeypatch):
    tasks = run_slurm(tmp_path, exit_code=0)
    assert [read(task, monkeypatch) for task in tasks] == [Host(0, 2), Host(1, 2)]
    workers = [json.loads(task["TF_CONFIG"])["cluster"]["worker"] for task in tasks]
    assert workers == [["node-a:21234", "node-b:21234"]] * 2
    assert tasks[0]["arguments"][:2] == ["-m", "trainer"]
    preset, config, _ = called(tasks[0]["arguments"][2:])
    assert_scaled_to_eight_gpus(preset, config)
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize(("exit_code", "is_requeued"), [(75, True), (1, False), (2, False)])
def test_slurm_requeues_what_was_stopped_with_its_work_saved(tmp_path, exit_code, is_requeued):
    run_slurm(tmp_path, exit_code=exit_code)
    assert (tmp_path / "requeued").exists() == is_requeued


def run_slurm(directory: Path, *, exit_code: int) -> list[dict[str, Any]]:
    """Runs the script where Slurm's commands and the trainer are stand-ins; what each task got."""
    trainer = f"""import json, os, sys
task = {{"TF_CONFIG": os.environ["TF_CONFIG"], "arguments": sys.argv[1:]}}
open(f"task-{{os.environ['SLURM_PROCID']}}.json", "w").write(json.dumps(task))
sys.exit({exit_code})
"""
    # As the real ones: srun takes its own options up to the command and gives the worst exit code.
    srun = """while [[ $1 == --* ]]; do shift; done
worst=0
for task in 0 1; do
  SLURM_PROCID=$task "$@"; code=$?
  if ((code > worst)); then worst=$code; fi
done
exit $worst
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


def read(task: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("TF_CONFIG", task["TF_CONFIG"])
    return host()


def assert_scaled_to_eight_gpus(preset: str, config: TrainConfig) -> None:
    """Two hosts of four, as the last line of the table says."""
    _, _, _, batch, rate, warmup_steps = map(float, table("| GPUs |")[-1])
    assert preset == "conv"
    assert (config.batch_size, config.learning_rate) == (batch, rate)
    assert config.warmup_steps == warmup_steps


def test_every_pod_is_told_which_host_it_is(monkeypatch):
    index, tf_config = POD["containers"][0]["env"]
    assert index["valueFrom"]["fieldRef"]["fieldPath"] == (
        "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    )
    pods = JOB["spec"]["completions"]
    assert JOB["spec"]["parallelism"] == pods
    for number in range(pods):
        text = tf_config["value"].replace(f"$({index['name']})", str(number))
        assert read({"TF_CONFIG": text}, monkeypatch) == Host(number, pods)
        worker = json.loads(text)["cluster"]["worker"][number]
        # The names that an indexed Job's pods have below a headless Service.
        assert worker.startswith(f"{JOB['metadata']['name']}-{number}.{POD['subdomain']}:")


def test_the_service_finds_the_jobs_pods():
    assert SERVICE["metadata"]["name"] == POD["subdomain"]
    assert SERVICE["spec"]["clusterIP"] == "None"
    assert SERVICE["spec"]["selector"] == {"job-name": JOB["metadata"]["name"]}


def test_a_pod_runs_the_trainer_and_exit_code_75_does_not_count(called):
    (container,) = POD["containers"]
    assert container["command"] == ["python", "-m", "trainer"]
    preset, config, _ = called(container["args"])
    assert_scaled_to_eight_gpus(preset, config)
    actions = {
        code: rule["action"]
        for rule in JOB["spec"]["podFailurePolicy"]["rules"]
        if "onExitCodes" in rule and rule["onExitCodes"]["containerName"] == container["name"]
        for code in rule["onExitCodes"]["values"]
    }
    assert actions == {2: "FailJob", 75: "Ignore"}
    assert POD["restartPolicy"] == "Never"

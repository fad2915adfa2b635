"""Flips bits in the files of a run, and runs the commands that read them, in one process.

`python -m tests.attacks RUN COMMAND` attacks the run that `make_run` made, and prints each attack
that got through: an error that is no line with the name of the damaged file, or another result than
that of the intact files without a warning that names the file.
"""

import contextlib
import dataclasses
import io
import json
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from components.base import file_errors
from components.base.errors import Stopped, UserError
from components.data.prepared_dataset import PreparedDataset
from pipeline import __main__ as pipeline_command
from tests.pipeline.prepare.test_stage import published_files
from tests.test_hostile_inputs import flip_bits
from trainer import __main__ as trainer_command

TRAINING = "--widths 16 --batch_size 50 --steps_per_call 4 --epochs"
PREPARE = "pipeline prepare --dataset {run}/images --output {work}/examples"
TRAIN = f"trainer --examples {{work}}/examples --output {{work}}/{{output}} {TRAINING}"
ARTIFACTS = "--examples {work}/examples --model {work}/model --output {work}/{output}"
EVALUATE = f"pipeline evaluate {ARTIFACTS} --draws 2"
EMBED = "pipeline embed --input {work}/examples --model {work}/model --output {work}/{output}"
STOPPED_AFTER = 14  # steps: within the second epoch


@dataclasses.dataclass(frozen=True)
class Reader:
    """A command that reads files of a run.

    Attributes:
      words: the command; `{run}` is the run, `{work}` a copy of it, and `{output}` the output.
      output: name of the directory that it publishes.
      damaged: names of the directories whose files are damaged.
      flips: how many times a file of each directory is damaged, one file after the other.
      result: the result in the published directory.
    """

    words: str
    output: str
    damaged: tuple[str, ...]
    flips: int
    result: Callable[[Path], Any]


def learned(model: Path) -> dict[str, bytes]:
    """What a training run has learned: its checkpoints and metrics."""
    return {
        name: content
        for name, content in published_files(model).items()
        if name.startswith(("checkpoints/", "metrics"))
    }


READERS = {
    "embed": Reader(EMBED, "new", ("examples", "model"), 50, published_files),
    "evaluate": Reader(EVALUATE, "new", ("examples", "model"), 28, published_files),
    "train": Reader(f"{TRAIN} 2", "new", ("examples",), 32, learned),
    "extend": Reader(f"{TRAIN} 3 --extend", "model", ("model",), 28, learned),
    "resume": Reader(f"{TRAIN} 3", "stopped", ("stopped.draft",), 32, learned),
    "retry": Reader(
        f"{PREPARE} --retry_quarantined", "examples", ("examples",), 28, published_files
    ),
}
# The commands that made the directories of a finished run: each finds its own up to date.
MADE_BY = {"examples": PREPARE, "model": f"{TRAIN} 2", "evaluation": EVALUATE, "embeddings": EMBED}
FINISHED = "finished"
TEXTS = (".json", ".jsonl", ".html", ".txt")
FINISHED_FLIPS = 60  # of each directory
NUM_FLIPS = FINISHED_FLIPS * len(MADE_BY) + sum(r.flips * len(r.damaged) for r in READERS.values())


def call(words: str, **places: object) -> None:
    """Runs a command in this process. Raises the errors that it would report."""
    module, *arguments = words.format(**places).split()
    sys.argv = [module, *arguments]
    with file_errors.as_work_errors():
        {"pipeline": pipeline_command, "trainer": trainer_command}[module].main()


def make_run(run: Path, examples: Path, patch: Any) -> None:
    """Makes a finished run and a stopped training, whose files have something in them.

    Args:
      run: the directory to make.
      examples: a prepared dataset, whose images are written to files first.
      patch: pytest's monkeypatch.
    """
    from trainer.recording.chief_recorder import ChiefRecorder

    dataset = PreparedDataset.open(examples)
    for split in ("train", "test"):
        batch = dataset.read(split)
        for number in range(240 if split == "train" else 60):
            name = dataset.class_names[batch.labels[number]]
            path = run / "images" / split / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(batch.images[number, ..., 0]).save(path)
            if number < 3:
                shutil.copy(path, path.with_stem(f"{number}-again"))
                path.with_stem(f"{number}-broken").write_bytes(b"broken")
    for name, words in MADE_BY.items():
        call(words, run=run, work=run, output=name)

    def stop(recorder: ChiefRecorder, step: int, **_: object) -> None:
        if step >= STOPPED_AFTER:
            signal.raise_signal(signal.SIGTERM)

    patch.setattr(ChiefRecorder, "record_steps", stop)
    with contextlib.suppress(Stopped):
        call(f"{TRAIN} 3", run=run, work=run, output="stopped")


def files_in(directory: Path) -> list[Path]:
    """The files of a directory that have something in them."""
    return sorted(p for p in directory.rglob("*") if p.is_file() and p.stat().st_size)


def change_digit(rng: random.Random, text: bytes) -> bytes:
    """A text in which the lowest bit of a digit is flipped, if it has digits."""
    changed = bytearray(text)
    if digits := [index for index, byte in enumerate(text) if byte in b"0123456789"]:
        changed[rng.choice(digits)] ^= 1
    else:
        changed[rng.randrange(len(text))] ^= 1
    return bytes(changed)


class Attacker:
    """Attacks copies of a run; keeps the attacks that got through.

    Args:
      run: directory of the run.
      seed: seed of the random choices.
    """

    def __init__(self, run: Path, seed: str):
        self._run = run
        self._work = run / "work"
        self._random = random.Random(seed)
        self.got_through: list[str] = []

    def damage_copies(self, directory: str, count: int) -> Iterator[Path]:
        """Yields damaged files of a directory, each in a new copy of the run."""
        names = [path.relative_to(self._run) for path in files_in(self._run / directory)]
        for number in range(count):
            self.copy_run()
            file = self._work / names[number % len(names)]
            # A changed digit is the damage that is the hardest to see.
            is_text = file.suffix in TEXTS
            change = change_digit if is_text and self._random.random() < 0.5 else flip_bits
            file.write_bytes(change(self._random, file.read_bytes()))
            yield file

    def copy_run(self) -> None:
        """Makes a new copy of the run."""
        shutil.rmtree(self._work, ignore_errors=True)
        for name in (*MADE_BY, "stopped.draft"):
            shutil.copytree(self._run / name, self._work / name)

    def call(self, words: str, output: str) -> tuple[str | None, str]:
        """Runs a command on the copy.

        Returns:
          Its error, if it failed, and what it wrote to standard error.
        """
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                call(words, run=self._run, work=self._work, output=output)
            except UserError as error:
                return str(error), said.getvalue()
            except Exception:
                return traceback.format_exc(), said.getvalue()
        return None, said.getvalue()

    def judge(self, file: Path, words: str, error: str | None, *, is_right: bool) -> None:
        """Notes an attack that got through.

        Args:
          file: the damaged file.
          words: the command.
          error: its error or warning.
          is_right: whether its result is that of the intact files.
        """
        # The fields of a manifest or a plan are known by its directory.
        described = file.parent if file.name in ("manifest.json", "plan.json") else file
        if error is None and is_right:
            return
        if error is None or "\n" in error or described.name not in error:
            self.got_through.append(f"{file}: {words}: {error or 'a wrong result'}")

    def read(self, reader: Reader) -> None:
        """Damages files that a command reads, and runs the command."""
        self.copy_run()
        error, _ = self.call(reader.words, reader.output)
        assert error is None, error
        expected = reader.result(self._work / reader.output)
        for directory in reader.damaged:
            for file in self.damage_copies(directory, reader.flips):
                error, said = self.call(reader.words, reader.output)
                is_right = error is None and reader.result(self._work / reader.output) == expected
                warnings = [line for line in said.splitlines() if file.name in line]
                self.judge(
                    file, reader.words, error or "".join(warnings[:1]) or None, is_right=is_right
                )

    def find_up_to_date(self) -> None:
        """Damages files of finished artifacts, and runs the commands that made these."""
        for directory, words in MADE_BY.items():
            for file in self.damage_copies(directory, FINISHED_FLIPS):
                original = self._run / file.relative_to(self._work)
                error, _ = self.call(words, directory)
                # Without --verify, only the manifest and the sizes are looked at.
                self.judge(file, words, error, is_right=True)
                error, _ = self.call(f"{words} --verify", directory)
                is_same = is_manifest_of_equal_run(file, original)
                self.judge(file, f"{words} --verify", error, is_right=is_same)


def is_manifest_of_equal_run(file: Path, original: Path) -> bool:
    """Whether two files are manifests that differ in the duration of the run alone.

    They are compared as values, since the last digit of a long number may make no difference.
    """
    if file.name != "manifest.json":
        return False
    try:
        first, second = (json.loads(path.read_bytes()) for path in (file, original))
    except ValueError:
        return False
    return {**first, "wall_seconds": 0} == {**second, "wall_seconds": 0}


def main(run: str, command: str) -> None:
    """Attacks a run, and prints the attacks that got through."""
    attacker = Attacker(Path(run), command)
    if command == FINISHED:
        attacker.find_up_to_date()
    else:
        attacker.read(READERS[command])
    print(json.dumps(attacker.got_through))


if __name__ == "__main__":
    main(*sys.argv[1:])

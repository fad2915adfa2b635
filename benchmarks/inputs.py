"""The images that the benchmarks read, in every format that a section needs."""

import dataclasses
import functools
from pathlib import Path

from benchmarks.processes import CommandError
from benchmarks.rows import BenchmarkRow, run_task
from benchmarks.tasks.input_files import FASHION
from components.base import console
from components.base.arithmetic import ceil_div
from components.base.errors import WorkError
from components.sources import dataset_names


@dataclasses.dataclass(frozen=True)
class BenchmarkInputs:
    """Sizes that all sections share, and input files, which are written when first used.

    Attributes:
      directory: for temporary files.
      images: number of images; 6/7 of them are for training.
      repeats: number of runs of each row.
      data_dir: where TFDS keeps its datasets.
    """

    directory: Path
    images: int
    repeats: int
    data_dir: str

    @staticmethod
    def images_for(train: int) -> int:
        """The number of all images if `train` of them are for training."""
        return ceil_div(train * 7, 6)

    @property
    def train(self) -> int:
        """The number of images for training."""
        return self.images * 6 // 7

    @property
    def output(self) -> str:
        """The path that rows write to."""
        return str(self.directory / "output")

    @functools.cached_property
    def missing(self) -> str:
        """Why Fashion-MNIST cannot be read; empty if it can."""
        if dataset_names.find_prepared(FASHION, self.data_dir) is None:
            return f"skipped: no {FASHION} prepared in {self.data_dir}"
        return ""

    @property
    def subject(self) -> str:
        """The content of the images, for titles."""
        return "drawn garments" if self.missing else "Fashion-MNIST"

    @functools.cached_property
    def idx(self) -> str:
        """A directory of IDX files."""
        data_dir = "" if self.missing else self.data_dir
        return self._write("idx", "write_idx", images=self.images, data_dir=data_dir)

    @functools.cached_property
    def pngs(self) -> str:
        """A directory of PNG files, one folder per class."""
        return self._write("pngs", "write_pngs", idx=self.idx)

    @functools.cached_property
    def records(self) -> str:
        """A directory of TFRecords with PNGs and labels, as TFDS writes them."""
        prepared = dataset_names.find_prepared(FASHION, self.data_dir)
        return str(prepared) if prepared else self._write("records", "write_records", idx=self.idx)

    @functools.cached_property
    def shards(self) -> str:
        """A directory that our prepare stage published."""
        return self._prepare("shards", self.idx)

    @functools.cached_property
    def photo_shards(self) -> str:
        """The same of images of 64 x 64 pixels in color, a fifth as many."""
        photos = self._write("photos.npz", "write_photos", images=ceil_div(self.train, 5))
        return self._prepare("photo_shards", photos)

    def model(self, preset: str) -> str:
        """A directory that our trainer published, of a preset and one epoch."""
        return self._write(f"model-{preset}", "train_model", examples=self.shards, preset=preset)

    def prepare_row(self, name: str, *arguments: str, missing: str = "") -> BenchmarkRow:
        """A row that runs our prepare stage."""
        task_arguments = {"arguments": arguments, "output": self.output}
        return BenchmarkRow(name, "prepare", task_arguments, is_ours=True, missing=missing)

    def _prepare(self, name: str, source: str) -> str:
        """The path of a dataset that our prepare stage makes, with all images for training."""
        arguments = ["--dataset", source, "--validation_fraction", "0"]
        return self._write(name, "prepare", arguments=arguments)

    def _write(self, name: str, task: str, **arguments: object) -> str:
        """Runs a task that writes an input; returns the path."""
        path = str(self.directory / name)
        console.say(f"bench: writing the input {name}")
        try:
            run_task(task, arguments | {"output": path}, sample_memory=False)
        except CommandError as error:
            raise WorkError(f"cannot write the benchmark's input {name}: {error}") from None
        return path

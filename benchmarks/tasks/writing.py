"""Writing TFRecords: our prepare stage and its peers."""

import importlib
import sys
import time
from typing import Any

from benchmarks.tasks.input_files import SHAPE, SPLITS, read_idx
from benchmarks.tasks.reports import Report


def prepare(arguments: list[str], output: str) -> Report:
    """Our stage as its command runs it; the seconds of both Beam pipelines and the plan between."""
    from components.data.prepared_dataset import PreparedDataset
    from pipeline import __main__ as command
    from pipeline.prepare import execution

    fn_api_runner = "apache_beam.runners.portability.fn_api_runner"
    clock: list[float] = []
    run_tasks = execution.run_tasks

    def timed_run_tasks(*args: Any, **kwargs: Any) -> Any:
        # The stage would import these at this point. The worker processes start meanwhile, as they
        # do when nothing is timed.
        for module in (fn_api_runner, "pipeline.beam.launch", "pipeline.beam.transforms"):
            importlib.import_module(module)
        clock.append(time.perf_counter())
        counters = run_tasks(*args, **kwargs)
        clock.append(time.perf_counter())
        return counters

    execution.run_tasks = timed_run_tasks
    sys.argv[1:] = ["prepare", *arguments, "--output", output]
    command.main()
    counts = PreparedDataset.open(output).artifact.manifest.counts
    return {"images": counts["kept"], "seconds": clock[-1] - clock[0]}


def tfds_writer(idx: str, output: str) -> Report:
    """`download_and_prepare` of a TFDS dataset as its users write one, with images in memory."""
    import tensorflow  # noqa: F401 - TFDS would import it while the clock runs
    import tensorflow_datasets as tfds

    examples = {split: read_idx(idx, split) for split in SPLITS}

    class Pictures(tfds.core.GeneratorBasedBuilder):
        """Images and labels."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=SHAPE),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(split) for split in examples}

        def _generate_examples(self, split):
            for key, (image, label) in enumerate(zip(*examples[split], strict=True)):
                yield key, {"image": image, "label": label}

    tfds.disable_progress_bar()
    builder = Pictures(data_dir=output)
    start = time.perf_counter()
    builder.download_and_prepare()
    seconds = time.perf_counter() - start
    num_written = sum(split.num_examples for split in builder.info.splits.values())
    return {"images": num_written, "seconds": seconds}


def beam_writer(idx: str, output: str) -> Report:
    """A Beam pipeline with one element per image and Beam's own TFRecord writer."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from tensorflow_datasets.proto import tf_example_pb2

    def serialize(element: tuple[bytes, bytes, int]) -> bytes:
        example_id, image, label = element
        example = tf_example_pb2.Example()
        feature = example.features.feature
        feature["id"].bytes_list.value.append(example_id)
        feature["image"].bytes_list.value.append(image)
        feature["label"].int64_list.value.append(label)
        return example.SerializeToString()

    pipeline = beam.Pipeline(FnApiRunner(), options=PipelineOptions([]))
    num_images = 0
    for split in SPLITS:
        elements = [
            (f"{split}-{number:08d}".encode(), image.tobytes(), int(label))
            for number, (image, label) in enumerate(zip(*read_idx(idx, split), strict=True))
        ]
        num_images += len(elements)
        _ = (
            pipeline
            | f"create {split}" >> beam.Create(elements)
            | f"serialize {split}" >> beam.Map(serialize)
            | f"write {split}"
            >> beam.io.WriteToTFRecord(f"{output}/pictures-{split}.tfrecord", num_shards=1)
        )
    start = time.perf_counter()
    pipeline.run().wait_until_finish()
    return {"images": num_images, "seconds": time.perf_counter() - start}

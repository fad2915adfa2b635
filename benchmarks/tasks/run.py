"""Runs one task in this process: `main(name, arguments)`, with the arguments as JSON."""

import json
import os

from components.base.registry import Registry

# Only the module of the task that runs is imported: its imports count in wall time and memory.
TASKS = Registry(
    write_idx="benchmarks.tasks.input_files:write_idx",
    write_pngs="benchmarks.tasks.input_files:write_pngs",
    write_records="benchmarks.tasks.input_files:write_records",
    write_photos="benchmarks.tasks.input_files:write_photos",
    prepare="benchmarks.tasks.writing:prepare",
    prepare_tiny_images="benchmarks.tasks.scale:prepare_tiny_images",
    tfds_writer="benchmarks.tasks.writing:tfds_writer",
    beam_writer="benchmarks.tasks.writing:beam_writer",
    pillow_loop="benchmarks.tasks.reading:pillow_loop",
    tf_data_folder="benchmarks.tasks.reading:tf_data_folder",
    read_ours="benchmarks.tasks.reading:read_ours",
    read_tf_data="benchmarks.tasks.reading:read_tf_data",
    read_tf_data_batches="benchmarks.tasks.reading:read_tf_data_batches",
    read_tfds="benchmarks.tasks.reading:read_tfds",
    inflate="benchmarks.tasks.libraries:inflate",
    decode_pngs_ours="benchmarks.tasks.libraries:decode_pngs_ours",
    decode_pngs="benchmarks.tasks.libraries:decode_pngs",
    extract_ours="benchmarks.tasks.libraries:extract_ours",
    extract_protobuf="benchmarks.tasks.libraries:extract_protobuf",
    read_shards_ours="benchmarks.tasks.libraries:read_shards_ours",
    read_shards_protobuf="benchmarks.tasks.libraries:read_shards_protobuf",
    encode_ours="benchmarks.tasks.libraries:encode_ours",
    encode_protobuf="benchmarks.tasks.libraries:encode_protobuf",
    ours="benchmarks.tasks.training:ours",
    preset="benchmarks.tasks.training:preset",
    bare="benchmarks.tasks.training:bare",
    first_call="benchmarks.tasks.training:first_call",
    limit="benchmarks.tasks.training:limit",
    train_model="benchmarks.tasks.embedding:train_model",
    embed_ours="benchmarks.tasks.embedding:embed_ours",
    keras_predict="benchmarks.tasks.embedding:keras_predict",
    run_inference="benchmarks.tasks.embedding:run_inference",
    keras_fit="benchmarks.peers.keras_fit:keras_fit",
    jax_steps="benchmarks.peers.jax_steps:jax_steps",
    torch_loop="benchmarks.peers.torch_loop:torch_loop",
)


def main(name: str, arguments: str) -> None:
    """Runs a task and prints its report, JSON, as the last line of standard output."""
    # The last line of standard error is to be the reason for a failure, not a library's message.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Every target in the tables is for the CPU.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    report = TASKS[name](**json.loads(arguments))
    print(f"\n{json.dumps(report)}", flush=True)

"""Launches Beam pipelines: chooses the runner, reads the counters, and restores user errors."""

import argparse
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineState

from components.base import console, errors, stop_signals
from components.base.arithmetic import ceil_div
from pipeline.beam import job_service, transforms, user_errors
from pipeline.beam.worker_pool import InThisProcess, TaskRunner

# Not DirectRunner, which tries Prism first, and Prism downloads a binary.
_DEFAULT_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_HELP = ("-h", "--help")
_JOB_SERVER_RUNNERS = ("PortableRunner", "FlinkRunner", "SparkRunner", "KafkaStreamsRunner")
# The most elements of a collection of tasks: enough for a thousand workers. The in-memory runner
# needs 2 to 4 kB for each, and others send them all in one message.
_MAX_ELEMENTS = 10_000


def run_tasks(
    tasks: Sequence[Any],
    function: Callable[..., Mapping[str, int]],
    *arguments: Any,
    task_runner: TaskRunner = InThisProcess(),  # noqa: B008 - it has no state
    beam_args: Sequence[str] = (),
) -> Counter[str]:
    """Calls `function(task, *arguments)` for every task, in any order, on a runner's workers.

    Args:
      tasks: picklable values, each for about a second of work or more. Very many of them are joined
        in groups, of which each is a slice of `tasks`: of a `range`, a pair of numbers.
      function: a function of a module; returns counters by name.
      arguments: picklable values, the same for every task.
      task_runner: where a Beam worker runs the function.
      beam_args: options of Beam.

    Returns:
      The sums of the counters.

    Raises:
      ConfigError: there is no such runner.
      UserError: a task raised it.
    """
    size = max(1, ceil_div(len(tasks), _MAX_ELEMENTS))
    elements = [tasks[first : first + size] for first in range(0, len(tasks), size)]
    with pipeline(beam_args) as p:
        run = transforms.RunTasks(function, *arguments, task_runner=task_runner)
        _ = p | beam.Create(elements) | beam.ParDo(run)
    return counters(p, transforms.COUNTERS)


def counters(finished: beam.Pipeline, namespace: str) -> Counter[str]:
    """The counters of a finished pipeline in a namespace, by name."""
    query = finished.result.metrics().query(MetricsFilter().with_namespace(namespace))
    totals: Counter[str] = Counter()
    for result in query["counters"]:
        # Some runners report only attempted values, which include retries.
        totals[result.key.metric.name] += (
            result.attempted if result.committed is None else result.committed
        )
    return totals


def check_options(beam_args: Sequence[str]) -> None:
    """Checks that Beam knows all options; Beam itself ignores unknown ones.

    A job server, such as that of Flink or Spark, may have options that Beam does not know. With the
    runners that use one, an unknown option causes a warning.

    Raises:
      ConfigError: an option is unknown, or has an invalid value.
    """
    parsers: list[argparse.ArgumentParser] = []
    # The function is called with a parser of the options of all runners.
    PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)
    parser = parsers[0]
    vars(parser)["error"] = _refuse
    arguments = [argument for argument in beam_args if argument not in _HELP]
    namespace, unknown = parser.parse_known_args(arguments)
    unknown += [argument for argument in beam_args if argument in _HELP]
    if (number := namespace.direct_num_workers) is not None and number < 0:
        raise errors.ConfigError(f"Beam options: --direct_num_workers must be >= 0, not {number}")
    if not unknown:
        return
    name = unknown[0].partition("=")[0]
    names = set(parser._option_string_actions) - set(_HELP)
    message = f"unknown Beam option {name!r}; {errors.nearest(name, names)}"
    if (namespace.runner or "").rpartition(".")[2] not in _JOB_SERVER_RUNNERS:
        raise errors.ConfigError(message)
    console.warn(f"{message}; only the job server of {namespace.runner} may know it")


def _refuse(message: str) -> NoReturn:
    raise errors.ConfigError(f"Beam options: {message}")


@contextlib.contextmanager
def pipeline(beam_args: Sequence[str], *, seconds: float | None = None) -> Iterator[beam.Pipeline]:
    """A Beam pipeline with the options `beam_args`; it runs when the body ends.

    An error or a signal while it runs cancels the job.

    Args:
      beam_args: options of Beam.
      seconds: how long a job of a job service may run; None for as long as it takes.

    Raises:
      ConfigError: there is no such runner.
      TimeoutError: the job took longer than `seconds`.
      UserError: a worker raised it, within `user_errors.encoded`.
      WorkError: the job service or a worker was lost.
    """
    # Otherwise Beam logs the traceback of a worker's error, which is raised anyway.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    options = PipelineOptions(list(beam_args))
    if options.view_as(StandardOptions).runner is None:
        options.view_as(StandardOptions).runner = _DEFAULT_RUNNER
    else:
        # Imports the runners of engines.
        from pipeline.beam import own_job_server

        own_job_server.provide(options)
    address = job_service.endpoint(options)
    if address is not None:
        # Beam itself would wait for the job service as long as a job may run.
        job_service.check(address)
        job_service.prepare_waiting(options)
    try:
        running = beam.Pipeline(options=options)
    except (ValueError, AttributeError, ImportError) as error:
        raise errors.ConfigError(f"Beam options: {errors.one_line(error)}") from error
    try:
        yield running
        _run(running, seconds, is_submitted=address is not None)
    except Exception as error:
        failure = user_errors.decode(error)
        if failure is None and address is not None:
            failure = job_service.explain(error, address)
        if failure is not None:
            raise failure from error
        raise


def _run(running: beam.Pipeline, seconds: float | None, *, is_submitted: bool) -> None:
    """Runs a pipeline to its end; cancels its job if the wait for it ends early.

    Args:
      running: the pipeline.
      seconds: how long its job may run; None for as long as it takes.
      is_submitted: whether a job service runs it.

    Raises:
      TimeoutError: the job took longer than `seconds`.
    """
    job = None
    try:
        # While a job is submitted, it may run already, but cannot be cancelled yet.
        with stop_signals.deferred() if is_submitted else contextlib.nullcontext():
            job = running.result = running.run()
        state = job.wait_until_finish(None if seconds is None else round(1000 * seconds))
        if seconds is not None and not PipelineState.is_terminal(state):
            raise TimeoutError
    except BaseException:
        # A job on a cluster continues without its driver. A runner that cannot cancel raises some
        # error, which must not hide the one that ended the wait.
        if job is not None:
            with contextlib.suppress(Exception):
                job.cancel()
        raise

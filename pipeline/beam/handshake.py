"""Checks before the work that an engine and its workers can do it.

Without these checks, some engines wait forever if no worker answers, or if a worker cannot load
this project's code.
"""

import functools
import logging
from collections.abc import Sequence

from components.base.errors import ConfigError, WorkError
from components.base.manifest import package_versions

_LOOPBACK = "LOOPBACK"
_EXTERNAL = "EXTERNAL"


def check_workers(beam_args: Sequence[str]) -> None:
    """Checks that the engine that the options name can work, and has the versions of this process.

    The workers of a job service run a small job that reports their versions. There is nothing to
    ask if the workers belong to this process, or if the runner installs this project on them.

    Args:
      beam_args: options of Beam; they are checked once per process.

    Raises:
      ConfigError: the engine lacks something, no job service or no worker answers, or a worker
        lacks this project, or has another version of it, of Beam, of Python or of a package that
        determines the results.
    """
    if beam_args:
        _check(tuple(beam_args))


@functools.cache
def _check(beam_args: tuple[str, ...]) -> None:
    # They import Beam, which takes a second.
    from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions

    from pipeline.beam import dataflow, job_service, own_job_server, probe

    options = PipelineOptions(list(beam_args)).view_as(PortableOptions)
    given = options.get_all_options(drop_default=True, current_only=True)
    seconds = given.get("job_server_timeout", job_service.ANSWER_SECONDS)
    # Otherwise Beam logs each check and download.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    dataflow.check(options)
    own_job_server.provide(options, seconds)
    if (address := job_service.endpoint(options)) is None:
        return
    try:
        job_service.check(address, seconds)
    except WorkError as error:
        raise ConfigError(str(error)) from error
    if options.environment_type == _LOOPBACK:
        return
    # A container may first have to download its image, however long that takes.
    limit = seconds if options.environment_type == _EXTERNAL else None
    where = options.environment_config or ", ".join(options.environment_options or [address])
    packages = [name for name in package_versions() if name != "python"]
    needed = {f"{name} {version}" for name, version in probe.versions(packages).items()}
    try:
        found = _worker_versions(beam_args, packages, limit)
    except WorkError as error:
        raise ConfigError(
            f"the workers of {where} cannot run a small job ({error}); check that workers run "
            f"there that have {', '.join(sorted(needed))}, as this command does"
        ) from error
    if found != needed:
        raise ConfigError(
            f"the workers of {where} have {', '.join(sorted(found - needed))}, but this command "
            f"has {', '.join(sorted(needed - found))}; install the same on both"
        )


def _worker_versions(
    beam_args: Sequence[str], packages: Sequence[str], seconds: float | None
) -> set[str]:
    """The versions that a worker reports, each with its name.

    Raises:
      WorkError: there are none within `seconds`.
    """
    import apache_beam as beam

    from pipeline.beam import job_service, launch, probe

    try:
        with launch.pipeline(beam_args, seconds=seconds) as p:
            _ = p | beam.Impulse() | beam.ParDo(probe.probe(packages))
        if not (found := set(launch.counters(p, probe.NAMESPACE))):
            raise WorkError("the engine reported no counters of it")
        return found
    except TimeoutError:
        raise WorkError(
            f"none answered within {seconds} seconds; --job_server_timeout allows more"
        ) from None
    except WorkError as error:
        # Without the advice, since the caller gives its own.
        raise WorkError(str(error).partition("; ")[0]) from error
    except RuntimeError as error:
        raise WorkError(job_service.last_line(error)) from error

"""Checks of what the runners of Flink and Spark need on this machine and on their cluster.

Each check ends within half a minute, even if nothing answers.
"""

import contextlib
import os
import re
import shutil
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    JobServerOptions,
    PipelineOptions,
    SparkRunnerOptions,
)
from apache_beam.runners.portability.job_server import JavaJarJobServer
from apache_beam.utils.subprocess_server import JavaJarServer

from components.base import console, json_types
from components.base.errors import ConfigError, one_line

# Seconds that another machine may take to answer.
_SECONDS = 20
_MAX_BYTES = 1 << 20  # of the answer of a Flink cluster
_SPARK_HOSTS = re.compile(r"spark://(.+)")


def check_java(options: PipelineOptions) -> None:
    """Checks that there is a program that runs a job server.

    Raises:
      ConfigError: there is none.
    """
    program = options.view_as(JobServerOptions).job_server_java_launcher
    if shutil.which(program) is None:
        raise ConfigError(
            f"the runner starts a job server in Java, but there is no program {program!r}; install "
            "Java, name it with --job_server_java_launcher, or start a job server yourself and "
            "pass --job_endpoint=HOST:PORT"
        )


def fetch_jar(server: JavaJarJobServer, options: PipelineOptions, name: str) -> None:
    """Checks that the jar of a job server is on this machine; downloads it if it is not.

    Args:
      server: the job server.
      options: options of Beam.
      name: the option that names a jar, such as `--flink_job_server_jar`.

    Raises:
      ConfigError: there is no such file, or it cannot be downloaded.
    """
    try:
        jar = server.path_to_jar()
    except ValueError as error:
        raise ConfigError(f"{name}: {one_line(error)}") from error
    directory = options.view_as(JobServerOptions).jar_cache_dir or JavaJarServer.JAR_CACHE
    cached = os.path.join(directory, os.path.basename(jar))
    if os.path.exists(jar) or os.path.exists(cached):
        return
    console.say(f"downloading {jar} to {cached}")
    try:
        with bounded_requests():
            JavaJarServer.local_jar(jar, directory)
    except (RuntimeError, OSError, ValueError, ImportError) as error:
        # Beam raises a RuntimeError while it handles the error of the request.
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        reason = one_line(getattr(cause, "reason", cause), length=200)
        raise ConfigError(
            f"the jar of the job server cannot be downloaded from {jar} ({reason}); put it at "
            f"{cached}, pass its path as {name}, or start a job server yourself and pass "
            "--job_endpoint=HOST:PORT"
        ) from error


@contextlib.contextmanager
def bounded_requests() -> Iterator[None]:
    """Requests of Beam in the body, which have no time limit, fail if nothing answers them."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)


def check_port(options: PipelineOptions) -> None:
    """Checks that the port for a job server is free.

    Raises:
      ConfigError: another program listens there.
    """
    port = options.view_as(JobServerOptions).job_port
    if not port:
        return
    try:
        socket.create_server(("localhost", port)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError(
            f"the port {port} is not free ({reason}); choose another --job_port, or pass "
            f"--job_endpoint=localhost:{port} if a job server runs there"
        ) from error


def check_flink_master(options: PipelineOptions) -> None:
    """Checks that a Flink cluster answers, and that the job server is of its version.

    Raises:
      ConfigError: it does not, or is not.
    """
    flink = options.view_as(FlinkRunnerOptions)
    answer = _answer(f"{flink.flink_master}/v1/config", "--flink_master", "Flink cluster")
    if answer is None:
        return
    try:
        version = re.findall(r"\d+\.\d+", json_types.parse_text(answer)["flink-version"])[0]
    except (ValueError, KeyError, TypeError, IndexError):
        raise ConfigError(
            f"what answers at {flink.flink_master} is not a Flink cluster; correct --flink_master"
        ) from None
    if flink.flink_job_server_jar is None and version != flink.flink_version:
        raise ConfigError(
            f"the Flink cluster at {flink.flink_master} has version {version}, but the job server "
            f"is for {flink.flink_version}; pass --flink_version={version}"
        )


def check_spark_master(options: PipelineOptions) -> None:
    """Checks that a Spark cluster answers, if the address of its master is known.

    Raises:
      ConfigError: it does not, or its address is needed and missing.
    """
    spark = options.view_as(SparkRunnerOptions)
    if spark.spark_submit_uber_jar:
        if not spark.spark_rest_url:
            raise ConfigError("--spark_submit_uber_jar needs --spark_rest_url=http://HOST:PORT")
        _answer(spark.spark_rest_url, "--spark_rest_url", "Spark cluster")
    elif hosts := _SPARK_HOSTS.fullmatch(spark.spark_master_url):
        reasons = [_refusal(address) for address in hosts[1].split(",")]
        if None not in reasons:
            raise ConfigError(
                f"no Spark cluster answers at {spark.spark_master_url} ({reasons[0]}); start it or "
                "correct --spark_master_url"
            )


def _answer(url: str, option: str, what: str) -> bytes | None:
    """The answer to an HTTP request; None if a server answers with an error, such as 401.

    Raises:
      ConfigError: nothing answers.
    """
    # A cluster is not behind the proxy to the internet.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_SECONDS) as response:
            return response.read(_MAX_BYTES)
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        # The cluster wants a certificate, which this process does not have.
        if isinstance(reason, ssl.SSLError):
            return None
        raise ConfigError(
            f"no {what} answers at {url} ({one_line(reason, length=200)}); start it, or correct "
            f"{option}"
        ) from error


def _refusal(address: str) -> str | None:
    """Why nothing listens at HOST:PORT; None if something does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS / 2).close()
    except (OSError, ValueError) as error:
        return one_line(error, length=200)
    return None

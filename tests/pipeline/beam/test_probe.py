import json
import pickle
import platform
import subprocess
import sys

import apache_beam as beam
import numpy as np

from pipeline.beam import launch, probe

PACKAGES = ["numpy", "no-such-package"]
# Unpickles a probe, and prints the version of the code that it finds before and after the first
# argument becomes a place of packages.
_WORKER = """
import json, pickle, sys
probe = pickle.load(sys.stdin.buffer)
versions = probe.process.__func__.__globals__["versions"]
found = [versions(probe._packages)]
sys.path.insert(0, sys.argv[1])
print(json.dumps([*found, versions(probe._packages)]))
"""


def test_the_versions_are_those_of_this_process():
    versions = probe.versions(PACKAGES)
    assert versions["numpy"] == np.__version__
    assert versions["no-such-package"] == probe.NOT_INSTALLED
    assert platform.python_version().startswith(f"{versions['Python']}.")
    assert versions["apache-beam"] == beam.__version__
    assert versions["vae-pipeline"].startswith("code ")


def test_a_worker_without_the_code_or_with_other_code_says_so(tmp_path):
    packages = tmp_path / "packages"
    for name in ("components", "pipeline"):
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    worker = subprocess.run(
        [sys.executable, "-c", _WORKER, packages],
        input=pickle.dumps(probe.probe(PACKAGES)),
        stdout=subprocess.PIPE,
        cwd=elsewhere,
        check=True,
    )
    without, with_other = json.loads(worker.stdout)
    own = probe.versions(PACKAGES)
    assert without == own | {"vae-pipeline": probe.NOT_INSTALLED}
    assert with_other["vae-pipeline"].startswith("code ")
    assert with_other["vae-pipeline"] != own["vae-pipeline"]


def test_a_job_counts_the_versions_of_its_worker():
    with launch.pipeline([]) as p:
        _ = p | beam.Impulse() | beam.ParDo(probe.probe(PACKAGES))
    expected = {f"{name} {version}": 1 for name, version in probe.versions(PACKAGES).items()}
    assert launch.counters(p, probe.NAMESPACE) == expected

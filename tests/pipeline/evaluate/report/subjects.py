"""What the tests of the report are about: a model of the session on its test split."""

import dataclasses

import numpy as np
from etils import epath

from components.base.manifest import load_artifact
from components.figures.mosaic import to_bytes
from components.metrics.elbo import estimate_elbo
from components.metrics.mean import Mean
from components.model import vae
from components.model.decode import decode, reconstruct
from components.model.latent_plane import Plane
from components.model.pixels import to_unit
from pipeline.evaluate.class_means import means_by_class
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.report.subject import DecodedPlane, ReportSubject, Strip
from tests.pipeline.evaluate.test_scores import SCORES
from trainer.recording.epoch_metrics import EpochMetrics

QUANTILES = (0.1, 0.5, 0.9)
LOSSES = {"loss": 30.0, "rate": 10.0, "distortion": 20.0}
EPOCHS = [
    EpochMetrics(number, 10 * number, LOSSES, LOSSES, learning_rate=0.001, beta=1.0)
    for number in (1, 2)
]


def report_subject(example_set, model_dir, **changes) -> ReportSubject:
    """The subject of a report, with other values of some fields."""
    model = vae.load(model_dir / "model.keras")
    test = example_set.read("test")
    means = model.posterior(to_unit(test.images)).mode().numpy()
    elbo = estimate_elbo(model, test.images, test.labels, seed=0).elbo.astype(np.float64)
    plane = Plane.of(means)
    shape = (len(QUANTILES), len(QUANTILES), *model.image_shape)
    grid = to_bytes(decode(model, plane.grid(QUANTILES))).reshape(shape)
    pairs = np.stack([test.images[:3], to_bytes(reconstruct(model, test.images[:3]))])
    subject = ReportSubject(
        dataset=example_set,
        trained=load_artifact(model_dir, stage="train"),
        vae=model,
        config=EvaluateConfig(),
        output=epath.Path("runs/demo/evaluation"),
        scores=dataclasses.replace(
            SCORES,
            means={"elbo": Mean.of(elbo), "knn_accuracy": Mean(0.875, 0.03125)},
            rate_per_dimension=[3.0, 0.5, 2.0],
            by_class=means_by_class({"elbo": elbo}, test.labels, example_set.class_names),
        ),
        epochs=EPOCHS,
        examples=test,
        means=means,
        elbo=elbo,
        space=DecodedPlane(plane, QUANTILES, grid, label=0),
        samples=[Strip(None, grid)],
        reconstructions=[Strip(int(test.labels[0]), pairs)],
        comparisons=[],
        notes=[],
    )
    return dataclasses.replace(subject, **changes)

"""The evaluate stage: held-out metrics, embeddings, figures and a report of a trained model."""

import dataclasses
import json
from typing import Any

import numpy as np
from etils import epath

from components.base import artifacts, console, tensorflow_setup
from components.data.examples import ExampleBatch
from components.data.prepared_dataset import PreparedDataset
from pipeline.evaluate.config import EvaluateConfig

REPORT = "report.html"
METRICS = "metrics.json"
_GRID_QUANTILES = np.linspace(0.05, 0.95, 20).tolist()
_SAMPLE_GRID = (10, 20)
_RECONSTRUCTIONS_PER_CLASS = 10
_MOST_CLASSES_DRAWN = 20


def evaluate(
    config: EvaluateConfig,
    *,
    examples: epath.PathLike,
    model: epath.PathLike,
    output: epath.PathLike,
    overwrite: bool = False,
) -> artifacts.Artifact:
    """Evaluates `model` on the test split of `examples` (validation, or train, if there is none).

    Raises:
      ConfigError: an input is not the artifact it should be, or `output` holds other work.
      WorkError: a shard is damaged.
    """
    example_set = PreparedDataset.open(examples)
    trained = artifacts.load(model, stage="train")
    plan = artifacts.ArtifactPlan(
        stage="evaluate",
        directory=epath.Path(output),
        config=dataclasses.asdict(config),
        inputs={"examples": example_set.artifact.as_input(), "model": trained.as_input()},
    )
    if plan.is_done(overwrite=overwrite):
        console.say(f"evaluate: up to date ({output})")
        return artifacts.load(output, stage="evaluate")
    with plan.publish(overwrite=overwrite) as draft:
        evaluation = _Evaluation(config, example_set, trained, draft.path)
        evaluation.embed()
        scores = evaluation.score()
        evaluation.draw(scores)
        evaluation.report(scores)
        draft.counts = scores
        draft.notes = example_set.artifact.manifest["notes"]
    console.say(f"evaluate: report in {epath.Path(output, REPORT)}")
    return artifacts.load(output, stage="evaluate")


class _Evaluation:
    """One evaluation, writing into a draft directory."""

    def __init__(
        self,
        config: EvaluateConfig,
        examples: PreparedDataset,
        trained: artifacts.Artifact,
        directory: epath.Path,
    ):
        tensorflow_setup.load()
        from components.model import vae

        self._config = config
        self._examples = examples
        self._trained = trained
        self._directory = directory
        self._vae = vae.load(trained.verified("model.keras"))
        self._split = examples.splits[-1]
        self._block: ExampleBatch = examples.read(self._split)

    def embed(self) -> None:
        """Writes the embeddings of every split."""
        from pipeline.apply.embed import embed_shards, parquet_name

        console.say(f"evaluate: embedding {', '.join(self._examples.splits)}")
        self._embeddings.mkdir(parents=True)
        tasks = [
            (str(self._examples.path / file), str(self._embeddings / parquet_name(file)))
            for split in self._examples.splits
            for file, _ in self._examples.shards[split]
        ]
        embed_shards(tasks, model=self._trained.path)

    def score(self) -> dict[str, Any]:
        """Writes and returns the metrics: ELBO, rate and distortion with 95 % intervals, in nats
        per example."""
        from components.metrics import likelihood
        from components.metrics.mean import Mean

        console.say(f"evaluate: scoring {len(self._block):,} {self._split} examples")
        elbo = likelihood.elbo(
            self._vae, self._block.images, seed=self._config.draws_seed, samples=self._config.draws
        )
        scores: dict[str, Any] = {
            "dataset": self._examples.dataset,
            "preset": self._preset,
            "split": self._split,
            "examples": len(self._block),
            "draws": self._config.draws,
            "unit": "nats per example",
        }
        for name in ("elbo", "rate", "distortion"):
            mean = Mean.of(getattr(elbo, name))
            scores[name] = {"mean": mean.value, "half_width_95": mean.half_width}
        (self._directory / METRICS).write_text(json.dumps(scores, indent=2) + "\n")
        return scores

    def draw(self, scores: dict[str, Any]) -> None:
        """Writes the figures."""
        from components import figures
        from components.model.latent_plane import Plane

        console.say("evaluate: drawing")
        folder = self._directory / "figures"
        folder.mkdir(parents=True)
        names = self._examples.class_names
        means = self._test_means()
        plane = Plane.of(means)
        horizontal, vertical = plane.names
        figures.encodings(
            plane.project(means),
            self._block.labels,
            class_names=names,
            axis_labels=plane.names,
            title=f"Encodings of the {self._split} set",
            subtitle=self._subtitle(scores, "rate"),
            path=folder / "encodings.png",
        )
        side = len(_GRID_QUANTILES)
        figures.latent_grid(
            self._decode(plane.grid(_GRID_QUANTILES)).reshape(side, side, *self._vae.image_shape),
            quantiles=_GRID_QUANTILES,
            axis_labels=(f"{horizontal}: quantile", f"{vertical}: quantile"),
            title="Latent space, decoded over the prior's quantiles",
            subtitle=self._subtitle(scores, "elbo"),
            path=folder / "latent_grid.png",
        )
        rng = np.random.default_rng(self._config.draws_seed)
        z = rng.standard_normal((np.prod(_SAMPLE_GRID), self._vae.latents), np.float32)
        figures.image_grid(
            self._decode(z).reshape(*_SAMPLE_GRID, *self._vae.image_shape),
            title="Samples from the prior",
            subtitle=self._subtitle(scores, "elbo"),
            path=folder / "samples.png",
        )
        drawn, originals = self._examples_by_class()
        figures.reconstructions(
            originals,
            self._reconstruct(originals),
            class_names=[names[label] for label in drawn],
            title=f"Reconstructions of {self._split} examples",
            subtitle=self._subtitle(scores, "distortion"),
            path=folder / "reconstructions.png",
        )
        self._draw_learning_curves(folder)

    def report(self, scores: dict[str, Any]) -> None:
        """Writes one page that shows it all."""
        from pipeline.evaluate import report

        page = report.render(scores, self._trained.manifest, self._examples.artifact.manifest)
        (self._directory / REPORT).write_text(page)

    @property
    def _embeddings(self) -> epath.Path:
        return self._directory / "embeddings"

    @property
    def _preset(self) -> str:
        return self._trained.manifest["config"]["preset"]

    def _subtitle(self, scores: dict[str, Any], metric: str) -> str:
        value = f"{scores[metric]['mean']:.2f} ± {scores[metric]['half_width_95']:.2f} nats"
        name = "ELBO" if metric == "elbo" else metric
        value = value.replace("-", "−")
        return f"{self._examples.dataset} · {self._preset} · {self._split} {name} {value}"

    def _test_means(self) -> np.ndarray:
        from components.model import embeddings
        from pipeline.apply.embed import parquet_name

        files = [file for file, _ in self._examples.shards[self._split]]
        parts = [embeddings.read(self._embeddings / parquet_name(file)) for file in files]
        return np.concatenate([part.means for part in parts])

    def _decode(self, z: np.ndarray) -> np.ndarray:
        return self._vae.likelihood(z).mean().numpy()

    def _reconstruct(self, originals: np.ndarray) -> np.ndarray:
        flat = originals.reshape(-1, *self._vae.image_shape)
        return self._vae(flat.astype(np.float32) / 255).numpy().reshape(originals.shape)

    def _examples_by_class(self) -> tuple[list[int], np.ndarray]:
        """Labels, and the first examples of each: uint8 [classes, K, height, width, channels];
        black where a class has fewer."""
        labels = [int(label) for label in np.unique(self._block.labels)[:_MOST_CLASSES_DRAWN]]
        shape = (len(labels), _RECONSTRUCTIONS_PER_CLASS, *self._vae.image_shape)
        images = np.zeros(shape, np.uint8)
        for row, label in enumerate(labels):
            first = np.flatnonzero(self._block.labels == label)[:_RECONSTRUCTIONS_PER_CLASS]
            images[row, : len(first)] = self._block.images[first]
        return labels, images

    def _draw_learning_curves(self, folder: epath.Path) -> None:
        from components import figures

        rows = [
            json.loads(line)
            for line in (self._trained.path / "metrics.jsonl").read_text().splitlines()
        ]
        names = ("loss", "rate", "distortion")
        heldout = {name: [(row["heldout"] or {}).get(name) for row in rows] for name in names}
        final = f"final train loss {rows[-1]['train']['loss']:.2f} nats"
        figures.learning_curves(
            [row["epoch"] for row in rows],
            train={name: [row["train"][name] for row in rows] for name in names},
            heldout=heldout if any(row["heldout"] for row in rows) else None,
            title="Learning curves",
            subtitle=f"{self._examples.dataset} · {self._preset} · {final}",
            path=folder / "learning_curves.png",
        )

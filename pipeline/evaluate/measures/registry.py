"""All measures, in the order in which they are made."""

from pipeline.evaluate.measures.denoising import DenoisingMeasure
from pipeline.evaluate.measures.generation import GenerationMeasure
from pipeline.evaluate.measures.latents import (
    ActiveUnitsMeasure,
    GapMeasure,
    InformationMeasure,
)
from pipeline.evaluate.measures.likelihood import LikelihoodMeasure
from pipeline.evaluate.measures.measure import Measure, Measured, Subject
from pipeline.evaluate.measures.reconstruction import ReconstructionMeasure
from pipeline.evaluate.measures.representation import NeighborMeasure, ProbeMeasure

MEASURES: tuple[Measure, ...] = (
    LikelihoodMeasure(),
    ReconstructionMeasure(),
    DenoisingMeasure(),
    NeighborMeasure(),
    ProbeMeasure(),
    ActiveUnitsMeasure(),
    InformationMeasure(),
    GapMeasure(),
    GenerationMeasure(),
)


def measure_all(subject: Subject) -> Measured:
    """Measures the metrics that are asked for."""
    found = [each.measure(subject) for each in MEASURES if subject.wants(*each.names)]
    return Measured.merged(found).restricted(subject.config.metrics)

"""The quality of reconstructions."""

import numpy as np

from components.base import console
from components.metrics.mean import Mean
from components.metrics.psnr import affordable_rows, psnr
from pipeline.evaluate.measures.measure import Measured, Subject


class ReconstructionMeasure:
    """How close reconstructions are to the images, in dB."""

    names: tuple[str, ...] = ("psnr",)

    def measure(self, subject: Subject) -> Measured:
        examples = subject.examples
        rows = affordable_rows(subject.model, len(examples))
        if len(rows) < len(examples):
            console.say(f"evaluate: reconstructing {console.counted(len(rows), 'example')}")
        values = psnr(subject.model, examples.images, examples.labels, rows=rows)
        by_example = np.full(len(examples), np.nan)
        by_example[rows] = values
        return Measured(
            {"psnr": Mean.of(values)}, {"psnr": by_example}, protocol={"psnr_examples": len(rows)}
        )

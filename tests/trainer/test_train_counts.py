import json

from components.base import json_types
from trainer.recording.epoch_metrics import EpochMetrics
from trainer.train_counts import TrainCounts

LOSSES = {"loss": 3.0, "rate": 1.0, "distortion": 2.0}
EPOCHS = [EpochMetrics(n, 10 * n, LOSSES, LOSSES if n == 1 else None, 1e-3, 1.0) for n in (1, 2)]
COUNTS = TrainCounts(404_244, 20, "float32", ["CPU"], 1, *EPOCHS)


def test_counts_survive_the_manifest():
    assert json_types.parse(TrainCounts, json.loads(json.dumps(COUNTS.as_json()))) == COUNTS

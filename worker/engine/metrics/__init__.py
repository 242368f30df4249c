"""COCO's caption metrics without Java: `score` one model's captions, `compare` several."""

from blipq.worker.engine.metrics.own_words import own_words
from blipq.worker.engine.metrics.ptb import words
from blipq.worker.engine.metrics.scores import LABELS, Comparison, Metric, Scores, compare, score

__all__ = ["LABELS", "Comparison", "Metric", "Scores", "compare", "own_words", "score", "words"]

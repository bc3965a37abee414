"""Scores of logits, against formulas in double precision."""

import numpy as np
import pytest

from bnnjax.train.score import accuracy, score


def test_scores_follow_the_formulas() -> None:
    logits = np.array([[1.0, 2.0, 0.5], [1000.0, -1000.0, 0.0], [-3.0, -3.0, -3.0]], np.float32)
    labels = np.array([1, 2, 0])
    scores = score(logits, labels)
    p = np.exp([1.0, 2.0, 0.5]) / np.exp([1.0, 2.0, 0.5]).sum()
    np.testing.assert_allclose(scores.losses, [-np.log(p[1]), 1000.0, np.log(3)], rtol=1e-12)
    np.testing.assert_array_equal(scores.predictions, [1, 0, 0])
    np.testing.assert_allclose(scores.confidences, [p[1], 1.0, 1 / 3], rtol=1e-12)
    assert accuracy(scores) == pytest.approx(200 / 3)

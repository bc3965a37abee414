"""What logits are worth: loss, prediction, confidence and rank of every image."""

from typing import NamedTuple

import numpy as np


class Scores(NamedTuple):
    """What logits are worth, an entry an image."""

    losses: np.ndarray  # float [n], cross-entropy in nats
    predictions: np.ndarray  # int [n]
    confidences: np.ndarray  # float [n], probability of the predicted class
    ranks: np.ndarray  # int [n], how many classes are found likelier than the true one


def score(logits: np.ndarray, labels: np.ndarray) -> Scores:
    """Scores logits [n, classes] against labels [n], in double precision."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_normalizer = np.log(np.exp(shifted).sum(axis=1))
    true = shifted[np.arange(len(labels)), labels]
    # Of equals the first is predicted; NaN counts as likelier.
    before = np.arange(logits.shape[1]) < labels[:, None]
    likelier = ~(shifted < true[:, None]) & ((shifted != true[:, None]) | before)
    return Scores(log_normalizer - true, logits.argmax(axis=1), np.exp(-log_normalizer), likelier.sum(axis=1))


def accuracy(scores: Scores, among: int = 1) -> float:
    """Returns the percentage of images whose true class is `among` the likeliest so many."""
    return 100 * float(np.mean(scores.ranks < among))

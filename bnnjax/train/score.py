"""Scores of logits: loss, prediction, confidence and rank of every image."""

from typing import NamedTuple

import numpy as np


class Scores(NamedTuple):
    """Scores of logits, one entry per image."""

    losses: np.ndarray  # float [n], cross-entropy in nats
    predictions: np.ndarray  # int [n]
    confidences: np.ndarray  # float [n], probability of the predicted class
    ranks: np.ndarray  # int [n], how many classes have a higher logit than the true one


def score(logits: np.ndarray, labels: np.ndarray) -> Scores:
    """Scores logits [n, classes] against labels [n], in double precision."""
    from scipy.special import log_softmax  # not loaded before a network is scored

    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    losses = -log_probabilities[np.arange(len(labels)), labels]
    confidences = np.exp(log_probabilities.max(axis=1))
    true = logits[np.arange(len(labels)), labels, None]
    # At a tie the first class ranks first, as in argmax; NaN ranks above the true class.
    before = np.arange(logits.shape[1]) < labels[:, None]
    likelier = ~(logits < true) & ((logits != true) | before)
    return Scores(losses, logits.argmax(axis=1), confidences, likelier.sum(axis=1))


def accuracy(scores: Scores, among: int = 1) -> float:
    """Returns the percentage of images whose true class is among the `among` likeliest (top-k accuracy)."""
    return 100 * float(np.mean(scores.ranks < among))

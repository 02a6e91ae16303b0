"""Which classes a network confuses with each other, in clusters: the classes of specialists.

Hinton, Vinyals & Dean 2015, arXiv:1503.02531, section 5.3; but for the length of the columns.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ckd.errors import ConfigError, DataError


def confusable_classes(
    probabilities: Tensor, n_clusters: int, *, covered: int | None = None, seed: int = 0
) -> list[tuple[int, ...]]:
    """Clusters of classes that a generalist often predicts together: K-means on the columns of their covariance.

    Columns are of length 1 here. As they are, those of the classes with the largest variance are far from all others:
    on CIFAR-100 with a generalist that is right in 32 %, seven of ten clusters were then of two classes or fewer, one
    of 81. With columns of length 1 the ten were of 5 to 17 classes.

    Args:
        probabilities: of a generalist (N, C), on samples that it was not trained on, as its confusions among those
            that it was are fewer.
        n_clusters: how many.
        covered: cluster only that many classes, those with the largest covariance with others (the sum of what is
            above 0); all unless given.
        seed: of K-means.

    Returns:
        Each class (each covered one) in one cluster: ascending tuples, ordered by their first class.

    Raises:
        DataError: what are no probabilities of two samples or more.
        ConfigError: more clusters than classes that differ, or fewer than one.

    Example:
        >>> first = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]])
        >>> confusable_classes(first, n_clusters=2)
        [(0, 1), (2, 3)]
    """
    from sklearn.cluster import KMeans

    _check_probabilities(probabilities)
    covariance = probabilities.double().T.cov()
    classes = _most_confused(covariance, covered)
    if not 1 <= n_clusters <= len(classes):
        fix = "Use fewer clusters, or cover more classes."
        expected = f"from 1 to {len(classes)}, the number of classes"
        raise ConfigError("number of clusters", expected=expected, received=n_clusters, fix=fix)
    columns = F.normalize(covariance[classes]).cpu().numpy()  # it is symmetric
    if n_clusters > (kinds := len(np.unique(columns.round(9), axis=0))):  # classes that are never predicted are alike
        fix = "Use fewer clusters, or predictions of a generalist that is trained."
        expected = f"at most {kinds}, the kinds of classes that are told apart"
        raise ConfigError("number of clusters", expected=expected, received=n_clusters, fix=fix)
    found = torch.from_numpy(KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(columns))
    clusters = [tuple(classes[(found == k).to(classes.device)].tolist()) for k in range(n_clusters)]
    return sorted(clusters)


def _most_confused(covariance: Tensor, covered: int | None) -> Tensor:
    """The classes to cluster, ascending."""
    n = len(covariance)
    if covered is None:
        return torch.arange(n, device=covariance.device)
    if not 1 <= covered <= n:
        expected = f"from 1 to {n}, the number of classes"
        raise ConfigError("covered classes", expected=expected, received=covered, fix="Leave it out for all.")
    confusion = covariance.clamp(min=0).fill_diagonal_(0).sum(0)
    return confusion.topk(covered).indices.sort().values


def _check_probabilities(probabilities: Tensor) -> None:
    given = probabilities.detach()
    two = given.dim() == 2 and len(given) > 1
    if not two or not (given >= 0).all() or not torch.allclose(given.sum(1), given.new_ones(()), atol=1e-2):
        raise DataError(
            "predictions of a generalist",
            expected="probabilities (N, C) of two samples or more, whose rows sum to 1",
            received=f"a tensor of shape {tuple(given.shape)}" + (", whose rows do not" if two else ""),
            fix="Take the softmax of its logits.",
        )

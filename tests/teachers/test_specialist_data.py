"""Labels, draws and the correction of specialists, against loops and Bayes' rule."""

import numpy as np
import pytest
import torch

from ckd.errors import ConfigError, DataError
from ckd.teachers import dustbin_shift, specialist_labels, specialist_weights


def labels(n=500, classes=6):
    """Frequencies of all sizes."""
    return torch.from_numpy(np.random.default_rng(0).geometric(0.4, n).clip(max=classes) - 1)


def test_labels_are_positions_in_the_classes_and_the_dustbin_is_the_last():
    given, classes = labels(), (5, 0, 3)
    wanted = [classes.index(y) if y in classes else 3 for y in given.tolist()]
    assert specialist_labels(given, classes).tolist() == wanted
    assert specialist_labels(given.view(50, 10), classes).tolist() == np.reshape(wanted, (50, 10)).tolist()
    assert specialist_labels(given[:0], classes).tolist() == []
    assert specialist_labels(torch.tensor([0, 1]), (40,)).tolist() == [1, 1]
    assert specialist_labels(given, classes).dtype == torch.int64


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_so_much_of_the_draws_is_of_the_classes(share):
    given, classes = labels(), torch.tensor([1, 4])
    weights = specialist_weights(given, classes, share=share)
    special = torch.isin(given, classes)
    assert weights.sum().item() == pytest.approx(1, rel=1e-12)
    assert weights[special].sum().item() == pytest.approx(share, rel=1e-12)
    assert len(weights[special].unique()) == len(weights[~special].unique()) == 1


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_shift_undoes_over_sampling_by_bayes_rule(share):
    """Posteriors of Gaussian classes under the draws' frequencies, corrected, are those under the true ones."""
    given, classes = labels(), (2, 4)
    counts = np.bincount(given.numpy(), minlength=6)
    x = np.linspace(-2, 7, 40)
    density = np.exp(-((x[:, None] - np.arange(6)) ** 2) / 2)
    drawn = np.zeros(6)
    np.add.at(drawn, given.numpy(), specialist_weights(given, classes, share=share).numpy())
    rest = [0, 1, 3, 5]

    def grouped(prior):
        p = density * prior
        return np.column_stack([p[:, 2], p[:, 4], p[:, rest].sum(1)]) / p.sum(1, keepdims=True)

    z = np.log(grouped(drawn))
    z[:, -1] += dustbin_shift(given, classes, share=share)
    found = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    np.testing.assert_allclose(found, grouped(counts / counts.sum()), rtol=1e-9)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_shares_of_none_or_all_are_refused(share):
    for function in (specialist_weights, dustbin_shift):
        with pytest.raises(ConfigError, match=r"share of a specialist's classes: expected within \(0, 1\)"):
            function(labels(), [1], share=share)


@pytest.mark.parametrize("classes", [[9], range(6)])
def test_labels_without_a_sample_of_either_kind_are_refused(classes):
    for function in (specialist_weights, dustbin_shift):
        with pytest.raises(DataError, match="labels for a specialist: expected samples of the classes and of others"):
            function(labels(), classes)


@pytest.mark.parametrize("classes", [[], [1, 1], [-1], ["a"]])
def test_classes_that_are_none_are_refused(classes):
    for function in (specialist_labels, specialist_weights, dustbin_shift):
        with pytest.raises(ConfigError, match="classes of a specialist"):
            function(labels(), classes)

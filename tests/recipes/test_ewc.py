"""EWC against a plain numpy loop of softmax regression: SGD, then the exact pull."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ckd import SelfDistillation, recipes
from ckd.anchors import Diagonal
from ckd.errors import ConfigError
from ckd.teachers import Snapshot


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)  # Avalanche sums its loss in the default type
    yield torch.float64
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def measured(monkeypatch):
    """The samples and labels of Fisher matrices, as arrays; what these are, test_fisher_samples.py says."""
    seen, add = [], Diagonal.add

    def noted(self, samples, decay):
        seen.append((samples.inputs.numpy().copy(), samples.labels.numpy().copy(), samples.classes))
        return add(self, samples, decay)

    monkeypatch.setattr(Diagonal, "add", noted)
    return seen


def gradient(w, x, y, classes):
    """∂ -log p(y) / ∂W of each sample, (B, C, D + 1), with p a softmax over `classes` and a 1 appended to x."""
    z = x @ w[:, :-1].T + w[:, -1]
    p = np.zeros_like(z)
    p[:, classes] = softmax(z[:, classes], axis=1)
    return (p - np.eye(len(w))[y])[:, :, None] * np.append(x, np.ones((len(x), 1)), 1)[:, None]


def reference(w, experiences, measured, *, weight, decay, lr, batch, epochs):
    """The weights after each experience."""
    home, fisher, path = w, np.zeros_like(w), []
    for (x, y), (inputs, labels, _) in zip(experiences, measured, strict=True):
        loader = DataLoader(TensorDataset(x, y), batch_size=batch, shuffle=True)
        for bx, by in (pair for _ in range(epochs) for pair in loader):
            w = w - lr * gradient(w, bx.numpy(), by.numpy(), np.arange(6)).mean(0)
            w = home + (w - home) / (1 + lr * weight * fisher)
        known = np.arange(2 * len(path) + 2)
        home, fisher = w, decay * fisher + (gradient(w, inputs, labels, known) ** 2).mean(0)
        path.append(w)
    return path


def joined(state):
    return torch.cat([state["weight"], state["bias"][:, None]], 1).numpy()


@pytest.mark.parametrize(("weight", "decay"), [(40.0, 1.0), (300.0, 0.4)])
@pytest.mark.parametrize("resident", [True, False])
def test_it_is_sgd_and_an_exact_pull(float64, weight, decay, resident, measured, blobs, benchmark_of, naive):
    experiences, model = blobs(dtype=float64), nn.Linear(6, 6)
    start = joined({name: value.clone() for name, value in model.state_dict().items()})
    objective = recipes.ewc(anchor_weight=weight, anchor_decay=decay, anchor_samples=30, seed=3)
    strategy = naive(model, [SelfDistillation(objective, resident=resident)], lr=0.3, epochs=2)
    found = []
    torch.manual_seed(4)
    for experience in benchmark_of(experiences).train_stream:
        strategy.train(experience)
        found.append(joined({name: value.clone() for name, value in model.state_dict().items()}))
    assert [len(y) for _, y, _ in measured] == [30] * 3
    settings = {"lr": 0.3, "batch": 8, "epochs": 2}
    torch.manual_seed(4)
    wanted = reference(start, experiences, measured, weight=weight, decay=decay, **settings)
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)
    torch.manual_seed(4)
    free = reference(start, experiences, measured, weight=0.0, decay=decay, **settings)
    np.testing.assert_allclose(found[0], free[0], rtol=1e-10, atol=1e-12)
    assert np.abs(found[1] - free[1]).max() > 0.01


def test_without_weight_it_is_naive_bit_for_bit(blobs, benchmark_of, network, naive, train, same):
    plain = train(naive(network(batchnorm=True)), benchmark_of(blobs()))
    idle = naive(network(batchnorm=True), [SelfDistillation(recipes.ewc(anchor_weight=0.0))])
    assert same(plain, train(idle, benchmark_of(blobs())))


def test_the_first_experience_is_naive_bit_for_bit(blobs, benchmark_of, network, naive, train, same):
    one = benchmark_of(blobs(n_experiences=1))
    assert same(train(naive(network()), one), train(naive(network(), [SelfDistillation(recipes.ewc())]), one))


def test_the_stronger_the_nearer_the_old_weights_stay(blobs, benchmark_of, network, naive, train):
    distances = []
    for weight in (0.0, 10.0, 1e3, 1e5):
        plugin = SelfDistillation(recipes.ewc(anchor_weight=weight))
        strategy, stream = naive(network(), [plugin]), benchmark_of(blobs()).train_stream
        torch.manual_seed(0)
        strategy.train(stream[0])
        home = strategy.model[2].bias[:2].detach().clone()  # of the old classes
        strategy.train(stream[1])
        distances.append((strategy.model[2].bias[:2] - home).norm().item())
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.01 * distances[0]


def test_it_keeps_a_snapshot_and_a_diagonal_and_no_memory(blobs, benchmark_of, network, naive):
    objective = recipes.ewc()
    assert objective.memory is None
    assert objective.terms == ()
    assert isinstance(objective.anchor.teacher, Snapshot)
    model = network()
    plugin = SelfDistillation(objective)
    naive(model, [plugin]).train(benchmark_of(blobs()).train_stream[:1])
    size = 4 * sum(p.numel() for p in model.parameters())
    assert plugin.engine.nbytes() == {"inputs": 0, "labels": 0, "logits": 0, "teachers": size, "curvature": size}


@pytest.mark.parametrize("wrong", [{"anchor_weight": -1.0}, {"anchor_decay": 1.5}, {"anchor_samples": 0}])
def test_what_cannot_work_is_refused(wrong):
    with pytest.raises(ConfigError, match="of the anchor"):
        recipes.ewc(**wrong)

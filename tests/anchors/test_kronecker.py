"""Kronecker factors against loops over samples and positions, and their pull against dense matrices."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from ckd.anchors import Kronecker, kronecker
from ckd.errors import ConfigError, ModelError

F64 = {"dtype": torch.float64}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def built(*layers):
    """A network in float64, with weights of its own."""
    model = nn.Sequential(*layers).double().eval()
    for i, p in enumerate(model.parameters()):
        p.data = random(*p.shape, seed=100 + i) / 2
    return model


def fields(layer, x):
    """What the layer's weight meets at each position of one sample x (1, ...), with a 1 appended."""
    if isinstance(layer, nn.Linear):
        return [np.append(row, 1.0) for row in x.reshape(-1, x.shape[-1])]
    (ph, pw), (sh, sw), (dh, dw), (kh, kw) = layer.padding, layer.stride, layer.dilation, layer.kernel_size
    x = np.pad(x[0], [(0, 0), (ph, ph), (pw, pw)])
    tops = range(0, x.shape[1] - dh * (kh - 1), sh)
    lefts = range(0, x.shape[2] - dw * (kw - 1), sw)
    return [
        np.append(x[:, i : i + dh * kh : dh, j : j + dw * kw : dw][:, :kh, :kw], 1.0)
        for i, j in itertools.product(tops, lefts)
    ]


def factors(samples, loss, path):
    """A = E[Σ a aᵀ] and G = E[mean g gᵀ] over the positions of each sample."""
    layer, met = samples.model.get_submodule(path), []

    def hook(_, inputs, output):
        met.append((inputs[0].detach().clone().numpy(), output))
        return output * 1  # what follows may work in place

    handle, a, g = layer.register_forward_hook(hook), 0, 0
    for i in range(len(samples)):
        met.clear()
        value = loss(samples, i)
        rows = [row for x, _ in met for row in fields(layer, x)]
        found = torch.autograd.grad(value, [output for _, output in met])
        conv = isinstance(layer, nn.Conv2d)
        columns = [d[0].flatten(1).T if conv else d.flatten(0, -2) for d in found]
        columns = torch.cat(columns).numpy()
        assert len(rows) == len(columns)
        a, g = a + sum(np.outer(r, r) for r in rows), g + columns.T @ columns / len(columns)
    handle.remove()
    return a / len(samples), g / len(samples)


def joined(delta, path):
    """Weight and bias as one matrix."""
    weight, bias = delta[f"{path}.weight"].flatten(1), delta.get(f"{path}.bias")
    return torch.cat([weight, torch.zeros(len(weight), 1) if bias is None else bias[:, None]], 1).numpy()


def displacement_of(model, seed=1):
    return {name: random(*p.shape, seed=seed + i) for i, (name, p) in enumerate(model.named_parameters())}


def pulled(a, g, delta, strength):
    """Δ - (1 + strength G ⊗ A)⁻¹ Δ by one dense solve."""
    system = np.eye(delta.size) + strength * np.kron(g, a)
    return delta - np.linalg.solve(system, delta.ravel()).reshape(delta.shape)


def equals(curvature, wanted, delta, strength=2.5, rtol=1e-8):
    """Penalty and pull are those of these dense factors, by path, and only these layers are pulled."""
    penalty = sum((joined(delta, path) * (g @ joined(delta, path) @ a)).sum() / 2 for path, (a, g) in wanted.items())
    assert curvature.penalty(delta).item() == pytest.approx(penalty, rel=rtol)
    off = curvature.correction(delta, strength)
    assert off.keys() == {name for name in delta if name.rsplit(".", 1)[0] in wanted}
    for path, (a, g) in wanted.items():
        if f"{path}.bias" not in off:  # there is no such column
            a = a[:-1, :-1]
        moved = joined(delta, path)[:, : len(a)]
        got = joined(off, path)[:, : len(a)]
        assert off[f"{path}.weight"].shape == delta[f"{path}.weight"].shape
        np.testing.assert_allclose(got, pulled(a, g, moved, strength), rtol=rtol, atol=rtol)


CONVS = [
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (3, 2), "stride": (1, 2), "padding": (2, 0), "dilation": (1, 2)},
    {"kernel_size": 1, "dilation": 3},
]


@pytest.mark.parametrize("settings", CONVS, ids=str)
@pytest.mark.parametrize("chunk", [2, 500])
def test_factors_of_a_convnet_are_those_of_a_loop(settings, chunk, samples_of, loss_of, monkeypatch):
    monkeypatch.setattr(kronecker, "CHUNK", chunk)
    first = nn.Conv2d(2, 3, **settings)
    model = built(first, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 4))
    samples, curvature = samples_of(model, random(5, 2, 6, 7), [0, 3, 2, 0, 1]), Kronecker(**F64)
    curvature.add(samples, 1.0)
    equals(curvature, {path: factors(samples, loss_of, path) for path in ("0", "4")}, displacement_of(model))


@pytest.mark.parametrize("classes", [None, [True, False, True, True]])
def test_factors_of_an_mlp_with_inputs_in_rows_are_those_of_a_loop(classes, samples_of, loss_of):
    model = built(nn.Linear(3, 5), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(10, 4))
    mask = None if classes is None else torch.tensor(classes)
    samples, curvature = samples_of(model, random(6, 2, 3), [0, 3, 2, 0, 2, 3], classes=mask), Kronecker(**F64)
    curvature.add(samples, 1.0)
    equals(curvature, {path: factors(samples, loss_of, path) for path in ("0", "3")}, displacement_of(model))


class Doubled(nn.Module):
    """Doubles rows in place, or a view of them."""

    def __init__(self, of=lambda x: x):
        super().__init__()
        self.of = of

    def forward(self, x):
        self.of(x).mul_(2)
        return x


FOLLOWS = {
    "ReLU": lambda: nn.ReLU(inplace=True),
    "ReLU of a view": lambda: nn.Sequential(nn.Unflatten(1, (1, -1)), nn.ReLU(inplace=True), nn.Flatten(1, 2)),
    "a slice": lambda: Doubled(lambda x: x[:, :1]),
    "twice": lambda: nn.Sequential(Doubled(), nn.ReLU(inplace=True)),
}
LAYERS = {
    "linear": (lambda bias: nn.Linear(3, 4, bias=bias), (6, 3)),
    "linear, in rows": (lambda bias: nn.Linear(3, 4, bias=bias), (6, 2, 3)),
    "linear, in rows of rows": (lambda bias: nn.Linear(3, 4, bias=bias), (6, 2, 2, 3)),
    "conv": (lambda bias: nn.Conv2d(2, 4, 2, bias=bias), (6, 2, 3, 3)),
}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("follows", FOLLOWS.values(), ids=FOLLOWS)
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_what_works_in_place_behind_a_layer_does_not_change_its_factors(layer, follows, bias, samples_of, loss_of):
    """A layer in rows puts out a view, which in-place work takes out of the graph."""
    make, shape = layer
    model = built(make(bias), follows(), nn.Flatten())
    samples, curvature = samples_of(model, random(*shape), [0, 3, 2, 0, 1, 3]), Kronecker(**F64)
    curvature.add(samples, 1.0)
    equals(curvature, {"0": factors(samples, loss_of, "0")}, displacement_of(model))


class Named(nn.Module):
    """Calls its layer by keyword."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x):
        return self.layer(input=x)


def test_a_layer_that_is_called_by_keyword_has_the_same_factors(samples_of, loss_of):
    model = built(Named())
    samples, curvature = samples_of(model, random(6, 3), [0, 3, 2, 0, 1, 3]), Kronecker(**F64)
    curvature.add(samples, 1.0)
    plain = built(model[0].layer)
    expected = factors(samples_of(plain, random(6, 3), [0, 3, 2, 0, 1, 3]), loss_of, "0")
    equals(curvature, {"0.layer": expected}, displacement_of(model))


class Overwriting(nn.Module):
    """Overwrites what its layer took in, once that has answered; as its weight is still, no gradient needs it."""

    def __init__(self, bias):
        super().__init__()
        self.layer = nn.Linear(4, 4, bias=bias)
        self.layer.weight.requires_grad_(False)

    def forward(self, x):
        answer = self.layer(x)
        x.zero_()
        return answer


@pytest.mark.parametrize("bias", [True, False])
def test_an_input_that_is_overwritten_later_counts_as_it_was(bias, samples_of, loss_of):
    model = built(nn.Linear(3, 4), Overwriting(bias), nn.Linear(4, 4))
    samples, curvature = samples_of(model, random(5, 3), [0, 3, 2, 0, 1]), Kronecker(**F64)
    curvature.add(samples, 1.0)
    trained = ("0", "1.layer", "2") if bias else ("0", "2")  # without a bias nothing in it is trained
    wanted = {path: factors(samples, loss_of, path) for path in trained}
    equals(curvature, wanted, displacement_of(model))


@pytest.mark.parametrize("bias", [True, False])
def test_one_sample_through_one_layer_is_the_outer_product_of_its_gradient(bias, samples_of, loss_of):
    model = built(nn.Linear(3, 4, bias=bias))
    samples, curvature = samples_of(model, random(1, 3), [2]), Kronecker(**F64)
    curvature.add(samples, 1.0)
    gradients = torch.autograd.grad(loss_of(samples, 0), list(model.parameters()))
    delta = displacement_of(model)
    slope = sum((g * d).sum().item() for g, d in zip(gradients, delta.values(), strict=True))
    assert curvature.penalty(delta).item() == pytest.approx(slope**2 / 2, rel=1e-9)


@pytest.mark.parametrize("layer", [nn.Linear(3, 4, bias=False), nn.Conv2d(1, 4, (1, 3), bias=False)], ids=str)
def test_a_layer_without_bias_is_pulled_exactly(layer, samples_of, loss_of):
    model = built(layer, nn.Flatten())
    samples, curvature = samples_of(model, random(5, 1, 1, 3), [0, 3, 2, 0, 1]), Kronecker(**F64)
    curvature.add(samples, 1.0)
    equals(curvature, {"0": factors(samples, loss_of, "0")}, displacement_of(model))


@pytest.mark.parametrize("rank", [1, 3, 7, 8, 100])
def test_of_what_is_left_by_the_rank_the_mean_is_kept(rank, samples_of, loss_of):
    model = built(nn.Linear(7, 4))
    samples, curvature = samples_of(model, random(20, 7), torch.arange(20) % 4), Kronecker(rank=rank, **F64)
    curvature.add(samples, 1.0)
    a, g = factors(samples, loss_of, "0")
    values, vectors = np.linalg.eigh(a)
    values[: max(0, 8 - rank)] = values[: max(0, 8 - rank)].mean() if rank < 8 else 0
    equals(curvature, {"0": (vectors @ np.diag(values) @ vectors.T, g)}, displacement_of(model), rtol=1e-6)
    assert curvature.nbytes() == 8 * (4 * 4 + 4 + 8 * min(rank, 8) + min(rank, 8))


@pytest.mark.parametrize("decay", [1.0, 0.4, 0.0])
@pytest.mark.parametrize("strength", [0.0, 1e-3, 1e6])
def test_experiences_add_up_while_the_head_grows(decay, strength, samples_of, loss_of):
    """A is their mean by weights d², d, 1; G the sum; outputs that came later are not pulled."""
    body, curvature, a, g, mass = nn.Linear(3, 4), Kronecker(**F64), 0, np.zeros((6, 6)), 0
    for i, width in enumerate((2, 5, 6)):
        model = built(body, nn.Tanh(), nn.Linear(4, width))
        model[0].weight.data = random(4, 3, seed=i)
        samples = samples_of(model, random(6, 3, seed=i), torch.arange(6) % width)
        curvature.add(samples, decay)
        fresh_a, fresh_g = factors(samples, loss_of, "2")
        a, mass = decay * mass * a + fresh_a, decay * mass + 1
        a, g = a / mass, decay * g
        g[:width, :width] += fresh_g
    delta = displacement_of(built(body, nn.Tanh(), nn.Linear(4, 9)))
    delta = {name: value * (name[0] == "2") for name, value in delta.items()}
    wide = np.zeros((9, 9))
    wide[:6, :6] = g
    off = curvature.correction(delta, strength)
    wanted = pulled(a, wide, joined(delta, "2"), strength)
    assert not wanted[6:].any()
    np.testing.assert_allclose(joined(off, "2"), wanted, rtol=1e-7, atol=1e-10)
    penalty = (joined(delta, "2") * (wide @ joined(delta, "2") @ a)).sum() / 2
    assert curvature.penalty(delta).item() == pytest.approx(penalty, rel=1e-9)


def test_a_layer_whose_inputs_have_changed_is_refused(samples_of):
    curvature = Kronecker()
    curvature.add(samples_of(built(nn.Linear(3, 4)), random(2, 3), [0, 1]), 1.0)
    with pytest.raises(ModelError, match="expected 4 inputs with the bias, as before; received 6"):
        curvature.add(samples_of(built(nn.Linear(5, 4)), random(2, 5), [0, 1]), 1.0)


@pytest.mark.parametrize("rank", [0, -3])
def test_a_rank_below_one_is_refused(rank):
    with pytest.raises(ConfigError, match="rank of the Kronecker factors: expected 1 or more"):
        Kronecker(rank=rank)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("rank", [None, 5])
@pytest.mark.parametrize("strength", [0.1, 100.0])
def test_bfloat16_pulls_almost_like_float32_and_counts_half(rank, strength, fast, samples_of, monkeypatch):
    monkeypatch.setattr("ckd.anchors.factors.multiplies_bfloat16", lambda kind: fast)
    model = built(nn.Linear(20, 12), nn.ReLU(), nn.BatchNorm1d(12), nn.Linear(12, 4)).float()
    samples = samples_of(model, random(50, 20).float(), torch.arange(50) % 4)
    half, full = Kronecker(rank=rank), Kronecker(rank=rank, dtype=torch.float32)
    delta = {name: value.float() for name, value in displacement_of(model).items()}
    for curvature in (half, full):
        curvature.add(samples, 1.0)
        curvature.add(samples, 0.5)
    for name, wanted in full.correction(delta, strength).items():
        found = half.correction(delta, strength)[name]
        assert found.dtype == torch.float32
        assert (found - wanted).norm() < 0.02 * wanted.norm()
    assert half.penalty(delta).item() == pytest.approx(full.penalty(delta).item(), rel=0.02)
    first, second = (rank or 21), (rank or 13)
    vectors, values = 12 * 12 + 21 * first + 4 * 4 + 13 * second, 12 + first + 4 + second
    assert half.nbytes() == 2 * vectors + 4 * values + 4 * 2 * 12  # BatchNorm's weight and bias
    assert full.nbytes() == 4 * vectors + 4 * values + 4 * 2 * 12
    assert Kronecker().nbytes() == 0


def test_another_strength_is_another_pull(samples_of, loss_of):
    model, curvature = built(nn.Linear(3, 4)), Kronecker(**F64)
    samples = samples_of(model, random(5, 3), [0, 3, 2, 0, 1])
    curvature.add(samples, 1.0)
    for strength in (1.0, 5.0, 5.0, 0.2):
        equals(curvature, {"0": factors(samples, loss_of, "0")}, displacement_of(model), strength)
    curvature.add(samples, 1.0)
    a, g = factors(samples, loss_of, "0")
    equals(curvature, {"0": (a, 2 * g)}, displacement_of(model), 0.2)

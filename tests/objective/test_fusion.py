"""Knowledge review as a term: what is fused, that it fits the teacher, learns and is restored."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ckd import Adaptor, Engine, Fixed, Objective, Term, tap
from ckd.errors import ConfigError
from ckd.losses import hierarchical_context
from ckd.objective import Fusion, teacher

STUDENT = [(3, 8, 8), (4, 4, 4), (5, 2, 2), (6,)]
TEACHER = [(7, 8, 8), (9, 5, 5), (4, 2, 2), (8,)]


def maps(shapes, seed=0):
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(3, *shape, generator=g) for shape in shapes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layers", [slice(0, 3), slice(0, 4), slice(2, 4)])
def test_what_it_gives_has_the_teachers_shapes(layers, dtype):
    student, target = (tuple(x.to(dtype) for x in maps(shapes[layers])) for shapes in (STUDENT, TEACHER))
    found = Fusion()(student, target)
    assert [(x.shape, x.dtype) for x in found] == [(x.shape, dtype) for x in target]


def test_of_one_layer_too():
    """As between networks without convolutions, whose last hidden layer is the only one to match."""
    student, target = torch.randn(5, 3), torch.randn(5, 2)
    student_and_more = Fusion()((student,), (target,))
    (found,) = Fusion()(student, target)
    assert found.shape == target.shape
    assert torch.equal(found, student_and_more[0])


def by_hand(module, features, targets):
    """The authors' order of steps, from the deepest layer up, each with the weights of its level."""
    found, fused = [], None
    for layer, x, target in reversed(list(zip(module.layers, features, targets, strict=True))):
        x = x if x.dim() == 4 else x.view(*x.shape, 1, 1)
        x = F.batch_norm(F.conv2d(x, layer.narrow[0].weight), None, None, training=True)
        if fused is not None:
            fused = F.interpolate(fused, x.shape[-2:], mode="nearest")
            weight, bias = layer.attention[0].weight, layer.attention[0].bias
            z = F.conv2d(torch.cat([x, fused], 1), weight, bias).sigmoid()
            x = x * z[:, 0].unsqueeze(1) + fused * z[:, 1].unsqueeze(1)
        size = target.shape[2:] or (1, 1)
        fused = F.interpolate(x, size, mode="nearest") if x.shape[-2:] != size else x
        y = F.batch_norm(F.conv2d(fused, layer.widen[0].weight, padding=1), None, None, training=True)
        found.append(y.view(target.shape))
    return found[::-1]


def test_each_layer_is_mixed_with_what_the_deeper_ones_gave():
    student, target = maps(STUDENT), maps(TEACHER, 1)
    fusion = Fusion()
    found = fusion(student, target)
    for mine, its in zip(found, by_hand(fusion._module, student, target), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-5)


def test_deep_features_reach_shallow_layers_and_none_the_other_way():
    student = tuple(x.requires_grad_() for x in maps(STUDENT[:3]))
    found = Fusion()(student, maps(TEACHER[:3]))
    for i, one in enumerate(found):
        gradients = torch.autograd.grad(
            one.square().sum() + one[0].sum(), student, retain_graph=True, allow_unused=True
        )
        assert [g is not None for g in gradients] == [j >= i for j in range(3)]


@pytest.mark.parametrize(("width", "wanted"), [(None, 5), (11, 11)])
def test_the_common_width_is_that_of_the_deepest_layer_or_ones_own(width, wanted):
    fusion = Fusion(width)
    fusion(maps(STUDENT[:3]), maps(TEACHER[:3]))
    assert {layer.narrow[0].out_channels for layer in fusion._module.layers} == {wanted}


def test_no_bias_stands_before_a_batch_norm():
    fusion = Fusion(2)
    fusion(maps(STUDENT[1:3]), maps(TEACHER[1:3]))
    narrow, widen, attention = 2 * (4 + 5) + 2 * 2 * 2, 9 * 2 * (9 + 4) + 2 * (9 + 4), 2 * (2 * 2) + 2
    assert sum(p.numel() for p in fusion._module.parameters()) == narrow + widen + attention


def test_it_learns_at_the_rate_that_it_is_given():
    fusion = Fusion(2, lr=0.03)
    fusion(maps(STUDENT[:3]), maps(TEACHER[:3]))
    assert {group["lr"] for group in fusion._optimiser.param_groups} == {0.03}


def test_the_common_width_is_512_at_most():
    fusion = Fusion()
    fusion(maps([(2, 1, 1), (600, 1, 1)]), maps([(2, 1, 1), (3, 1, 1)]))
    assert {layer.narrow[0].out_channels for layer in fusion._module.layers} == {512}


def test_weights_begin_uniform_with_variance_1_over_inputs():
    """As in the authors' code: He et al.'s bound with a slope of 1."""
    fusion = Fusion(40)
    fusion(maps([(30, 2, 2)]), maps([(30, 2, 2)]))
    (layer,) = fusion._module.layers
    for convolution, inputs in ((layer.narrow[0], 30), (layer.widen[0], 9 * 40)):
        assert convolution.weight.abs().max().item() == pytest.approx((3 / inputs) ** 0.5, rel=0.02)


def test_equal_seeds_begin_alike_and_leave_the_global_generator_alone():
    x, t, before = maps(STUDENT), maps(TEACHER), torch.get_rng_state()
    one, same, other = (Fusion(seed=seed)(x, t)[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


# in a term ---------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, width, seed):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.one = nn.Conv2d(1, width, 3, stride=2, padding=1)
            self.two = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
            self.three = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.head = nn.Linear(2 * width, 3)

    def forward(self, x):
        return self.head(self.three(self.two(self.one(x).relu()).relu()))


LAYERS = tap("one", "two", "three")


def review(adaptor, seed=0):
    """An engine that trains a small convolutional student against one of three times its width."""
    term = Term("review", output=LAYERS, target=teacher("t", output=LAYERS), adaptor=adaptor, loss=hierarchical_context)
    return Engine(Objective("review", [term], teachers={"t": Fixed(Net(9, 1))})), Net(3, seed)


def learn(engine, student, n=3, seed=0, lr=0.05):
    g, found = torch.Generator().manual_seed(seed), []
    optimizer = torch.optim.SGD(student.parameters(), lr=lr)
    for _ in range(n):
        optimizer.zero_grad()
        loss = engine.loss(student, torch.randn(8, 1, 8, 8, generator=g), torch.arange(8) % 3)
        loss.backward()
        optimizer.step()
        engine.after_update(optimizer)
        found.append(loss.parts["review"].item())
    return found


def test_a_small_student_learns_from_a_larger_one():
    engine, student = review(Fusion(lr=0.05))
    engine.begin(range(3))
    before = copy.deepcopy(student.one.weight)
    losses = learn(engine, student, 30)
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])
    assert not torch.equal(student.one.weight, before)
    assert engine.nbytes()["adaptors"] == sum(
        x.numel() * x.element_size() for x in engine.objective.terms[0].adaptor._module.state_dict().values()
    )


@pytest.mark.parametrize("before", [0, 3])
def test_with_its_state_another_goes_on_bit_for_bit(before):
    engine, student = review(Fusion(seed=3))
    engine.begin(range(3))
    learn(engine, student, before)
    state, again = copy.deepcopy(engine.objective.terms[0].adaptor.state_dict()), copy.deepcopy(student)
    other, _ = review(Fusion(seed=3))
    other.begin(range(3))
    other.objective.terms[0].adaptor.load_state_dict(state, again)
    assert learn(other, again, seed=1) == learn(engine, student, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), again.parameters(), strict=True))


def test_a_module_of_ones_own_may_take_all_taps_too():
    class Halved(nn.Module):
        def __init__(self):
            super().__init__()
            self.maps = nn.ModuleList([nn.Conv2d(3, 9, 1), nn.Conv2d(6, 18, 1), nn.Linear(6, 18)])

        def forward(self, features):
            return tuple(one(x) / 2 for one, x in zip(self.maps, features, strict=True))

    own = Halved()
    engine, student = review(Adaptor(own))
    engine.begin(range(3))
    x = torch.randn(8, 1, 8, 8)
    found = engine.loss(student, x, torch.arange(8) % 3).parts["review"]

    def taps(net):
        two = net.two(net.one(x).relu())
        return net.one(x), two, net.three(two.relu())

    wanted = hierarchical_context(own(taps(student)), taps(engine.objective.teachers["t"].network)).mean()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)


# what is refused ---------------------------------------------------------------------------------------------------


def test_a_linear_map_for_several_taps_is_still_refused():
    with pytest.raises(ConfigError, match=r"3 Adaptors, one for each tap, or one for all such as Fusion\(\)"):
        review(Adaptor())


def test_layers_that_are_no_maps_or_too_few_are_refused():
    for student, target in (
        (maps([(3, 4), (5,)]), maps([(3, 4), (5,)])),
        (maps(STUDENT[:2]), maps(TEACHER[:3])),
    ):
        with pytest.raises(ConfigError, match="layers to fuse: expected as many of the student as of the teacher"):
            Fusion()(student, target)


def test_a_width_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="width of the fusion"):
        Fusion(0)


def test_a_width_of_one_is_taken_and_a_fusion_renewed_where_that_is_wanted():
    kept, renewed = Fusion(1), Fusion(1, renew=True)
    for fusion, anew in ((kept, False), (renewed, True)):
        fusion(maps(STUDENT[:3]), maps(TEACHER[:3]))
        before = fusion._module
        fusion.end(None)
        assert (fusion._module is None) == anew
        assert before.layers[0].narrow[0].out_channels == 1

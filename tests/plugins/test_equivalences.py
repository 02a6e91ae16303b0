"""Runs in Avalanche that must equal other runs, bit for bit or to 1e-12."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from ckd import AccuracyRecorder, Memory, Objective, SelfDistillation, Snapshot, Term, recipes
from ckd.losses import cross_entropy, kd, logit_mse
from ckd.objective import old_heads, replay, stored_logits, teacher


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)  # Avalanche sums its loss in the default type
    yield torch.float64
    torch.set_default_dtype(torch.float32)


def reference_der_plus_plus(model, experiences, *, size, alpha, beta, lr, batch, epochs, seed):
    """DER++ as one would write it in plain torch; the losses of every step."""
    optimiser = torch.optim.SGD(model.parameters(), lr=lr)
    g = torch.Generator().manual_seed(seed)
    kept, offered, losses = [], 0, []
    for x, y in experiences:
        loader = DataLoader(TensorDataset(x, y), batch_size=batch, shuffle=True)
        for bx, by in (pair for _ in range(epochs) for pair in loader):
            logits = model(bx)
            step = {"criterion": F.cross_entropy(logits, by)}
            if kept:
                a = [kept[i] for i in torch.randperm(len(kept), generator=g)[: len(bx)]]
                b = [kept[i] for i in torch.randperm(len(kept), generator=g)[: len(bx)]]
                replayed = model(torch.stack([s[0] for s in a]))
                step["logits"] = alpha * F.mse_loss(replayed, torch.stack([s[2] for s in a]))
                replayed = model(torch.stack([s[0] for s in b]))
                step["labels"] = beta * F.cross_entropy(replayed, torch.stack([s[1] for s in b]))
            optimiser.zero_grad()
            sum(step.values()).backward()
            optimiser.step()
            losses.append({name: float(value.detach()) for name, value in step.items()})
            for sample, u in zip(
                zip(bx, by, logits.detach(), strict=True), torch.rand(len(bx), generator=g), strict=True
            ):
                slot = offered if offered < size else int(u * (offered + 1))
                offered += 1
                if len(kept) < size:
                    kept.append(sample)
                elif slot < size:
                    kept[slot] = sample
    return losses


@pytest.mark.parametrize("joint", [False, True])
def test_der_plus_plus_has_the_losses_of_a_plain_torch_loop_step_by_step(
    float64, joint, blobs, benchmark_of, network, naive, train
):
    experiences = blobs(dtype=float64)
    torch.manual_seed(3)
    wanted = reference_der_plus_plus(
        network(float64), experiences, size=30, alpha=0.3, beta=0.7, lr=0.1, batch=8, epochs=2, seed=5
    )
    recorder = AccuracyRecorder()
    objective = recipes.der_plus_plus(memory_size=30, alpha=0.3, beta=0.7, seed=5)
    plugin = SelfDistillation(objective, joint=joint, log_every=1)
    strategy = naive(network(float64), [plugin], epochs=2, evaluator=recorder)
    train(strategy, benchmark_of(experiences), seed=3)
    for name in ("criterion", "logits", "labels"):
        got = [value for _, value in recorder.losses[f"CKD_Loss/train_phase/train_stream/{name}"]]
        assert torch.tensor(got) == pytest.approx(
            torch.tensor([step[name] for step in wanted if name in step]), rel=1e-12
        )
    assert len(wanted) == 30  # 3 experiences, 2 epochs, 5 batches


def test_the_first_draws_of_a_and_b_differ(blobs, benchmark_of, network, naive, train):
    drawn = []

    def watch(kind):
        def loss(student, target, *, classes=None):
            drawn.append((kind, student.detach()))
            return student.sum(1) * 0

        return loss

    terms = [Term(k, draw=replay(k), loss=watch(k)) for k in "ab"]
    train(naive(network(), [SelfDistillation(Objective("two", terms, memory=Memory(30)))]), benchmark_of(blobs()))
    a, b = (torch.cat([z for k, z in drawn if k == kind]) for kind in "ab")
    assert not torch.equal(a, b)


def test_der_plus_plus_without_beta_is_der(blobs, benchmark_of, network, naive, train, same):
    run = [
        train(naive(network(), [SelfDistillation(objective)]), benchmark_of(blobs()))
        for objective in (
            recipes.der_plus_plus(memory_size=20, alpha=0.4, beta=0.0),
            recipes.der(memory_size=20, alpha=0.4),
        )
    ]
    assert same(*run)


def test_er_without_memory_is_naive(blobs, benchmark_of, network, naive, train, same):
    er = train(naive(network(), [SelfDistillation(recipes.er(memory_size=0))]), benchmark_of(blobs()))
    assert same(er, train(naive(network()), benchmark_of(blobs())))


def test_lwf_on_the_first_experience_is_naive_and_later_is_not(blobs, benchmark_of, network, naive, train, same):
    one, two = benchmark_of(blobs(n_experiences=1)), benchmark_of(blobs(n_experiences=2))

    def lwf():
        return naive(network(), [SelfDistillation(recipes.lwf())])

    assert same(train(lwf(), one), train(naive(network()), one))
    assert not same(train(lwf(), two), train(naive(network()), two))


@pytest.mark.parametrize("batchnorm", [False, True])
def test_terms_of_weight_zero_leave_a_run_bit_identical(batchnorm, blobs, benchmark_of, network, naive, train, same):
    terms = [
        Term("a", draw=replay("a"), target=stored_logits, loss=logit_mse, weight=0.0),
        Term("b", draw=replay("b"), loss=cross_entropy, weight=lambda moment: 0.0),
        Term("c", draw=old_heads, target=teacher("past"), loss=kd, weight=0),
    ]
    objective = Objective("nothing", terms, memory=Memory(20), teachers={"past": Snapshot()})
    plain = naive(network(batchnorm=batchnorm), epochs=2)
    idle = naive(network(batchnorm=batchnorm), [SelfDistillation(objective)], epochs=2)
    assert same(train(plain, benchmark_of(blobs())), train(idle, benchmark_of(blobs())))
    assert len(objective.memory) == 20


def test_the_penalty_of_a_stock_ewc_plugin_survives(blobs, benchmark_of, network, naive, train, same):
    from avalanche.training.plugins import EWCPlugin

    def run(*plugins):
        return train(naive(network(), plugins), benchmark_of(blobs()))

    idle = [SelfDistillation(recipes.der(memory_size=20, alpha=0.0)) for _ in range(2)]
    ewc = run(EWCPlugin(ewc_lambda=5.0))
    assert same(ewc, run(EWCPlugin(ewc_lambda=5.0), idle[0]))
    assert same(ewc, run(idle[1], EWCPlugin(ewc_lambda=5.0)))
    assert not same(ewc, run())


def test_ewc_and_der_both_count_whatever_their_order(float64, blobs, benchmark_of, network, naive, train):
    from avalanche.training.plugins import EWCPlugin

    def run(*plugins):
        return train(naive(network(float64), plugins), benchmark_of(blobs(dtype=float64)))[0]

    def der():
        return SelfDistillation(recipes.der(memory_size=20, alpha=1.0))

    one, other = run(EWCPlugin(5.0), der()), run(der(), EWCPlugin(5.0))
    alone = run(der()), run(EWCPlugin(5.0))
    for name in one:
        assert torch.allclose(one[name], other[name], rtol=1e-9)
    assert all(any(not torch.allclose(one[n], single[n], rtol=1e-3) for n in one) for single in alone)


@pytest.mark.parametrize("recipe", ["er", "er-ace", "der++", "self-distillation"])
def test_joint_and_separate_forward_agree_without_batchnorm(
    float64, recipe, blobs, benchmark_of, network, naive, train
):
    states = []
    for joint in (False, True):
        plugin = SelfDistillation(recipes.get(recipe).build(memory_size=20), joint=joint)
        states.append(train(naive(network(float64), [plugin]), benchmark_of(blobs(dtype=float64)))[0])
    for name in states[0]:
        assert torch.allclose(states[0][name], states[1][name], rtol=1e-9, atol=1e-12)


def test_er_is_one_mean_over_the_union(float64, blobs, benchmark_of, network, naive):
    seen = []
    own = torch.nn.CrossEntropyLoss()

    def criterion(output, targets):
        seen.append((output.detach().clone(), targets.clone()))
        return own(output, targets)

    strategy = naive(network(float64), [SelfDistillation(recipes.er(memory_size=20, memory_batch_size=4))])
    strategy._criterion = criterion
    strategy.train(benchmark_of(blobs(dtype=float64)).train_stream)
    sizes = [len(targets) for _, targets in seen]
    assert sizes[0] == 8
    assert set(sizes[1:]) == {12}
    assert strategy._criterion is criterion

"""The experiments on images: what is measured, what is shown, and each script's pieces on little data."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import digamma
from torch import nn

from ckd import recipes
from ckd.data import arrays as made_of

BENCHMARKS = Path(__file__).parents[1] / "benchmarks" / "distillation"


@pytest.fixture
def script(monkeypatch):
    """script(name) -> that module of benchmarks/distillation."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def images(n, classes, channels=3, size=16):
    generator = torch.Generator().manual_seed(n)
    x = torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)
    return x, torch.arange(n) % classes


def little(n=60, classes=10, **shape):
    return made_of(*images(n, classes, **shape), *images(2 * classes, classes, **shape))


def test_measures_are_those_of_a_loop(script):
    logits, labels = torch.randn(47, 5, generator=torch.Generator().manual_seed(1)), torch.arange(47) % 5
    p = logits.double().softmax(1).numpy()
    right, confidence = p.argmax(1) == labels.numpy(), p.max(1)
    error = 0.0
    for rows in np.array_split(np.argsort(confidence, kind="stable"), 15):
        error += len(rows) / 47 * abs(right[rows].mean() - confidence[rows].mean())
    found = script("image_runs").measures(logits, labels)
    assert found["accuracy"] == pytest.approx(100 * right.mean())
    assert found["calibration error"] == pytest.approx(100 * error)
    assert found["NLL"] == pytest.approx(-np.log(p[np.arange(47), labels]).mean())
    assert found["Brier"] == pytest.approx(((p - np.eye(5)[labels]) ** 2).sum(1).mean())


def test_equal_seeds_give_equal_order_and_views(script):
    module, data = script("image_runs"), little()
    data = replace(data, augment=(importlib.import_module("ckd.data.preparation").RandomCrop(2),))
    seen = []

    def shown(epoch, rows, generator):
        seen.append(module.augmented(data)(epoch, rows, generator))
        return seen[-1]

    for seed in (0, 0, 1):
        torch.manual_seed(len(seen))  # which must not matter
        student = nn.Sequential(nn.Flatten(), nn.Linear(768, 10))
        module.train(student, recipes.naive(), shown, data.y_train, epochs=2, seed=seed, batch=30)
    assert len(seen) == 12
    assert all(map(torch.equal, seen[:4], seen[4:8]))
    assert not torch.equal(seen[0], seen[8])
    assert not torch.equal(seen[0], seen[2])


def test_so_many_labels_are_wrong(script):
    labels = torch.arange(100) % 10
    noisy = script("calibration").with_wrong(labels, 0.4, 3)
    assert int((noisy != labels).sum()) == 40
    assert set(noisy.tolist()) <= set(range(10))
    assert torch.equal(script("calibration").with_wrong(labels, 0.0, 3), labels)


def test_calibration_learns_from_the_same_wrong_labels(script, tmp_path, monkeypatch):
    module = script("calibration")
    setting = module.Setting(6, 1, "mlp", "small-mlp", module.METHODS)
    monkeypatch.setitem(module.SETTINGS, "MNIST", setting)
    results = script("text_runs").Results(tmp_path / "rows.json")
    for seed in range(2):
        module.run_seed(results, "MNIST", little(channels=1), setting, 0.2, seed)
    assert [row["method"] for row in results.rows] == 2 * list(module.METHODS)
    lines = module.table(results, "MNIST", 0.2).splitlines()
    assert len(lines) == 2 + len(module.METHODS)
    assert "wrong labels learnt" in lines[0]


def test_entropies_of_members_and_of_a_dirichlet_distribution(script):
    module, generator = script("uncertainty"), torch.Generator().manual_seed(0)
    log_alpha = torch.randn(3, 4, generator=generator).double() + 1
    found = module.of_dirichlet(log_alpha)
    rng = np.random.default_rng(0)
    for i in range(3):
        drawn = torch.from_numpy(rng.dirichlet(log_alpha[i].exp().numpy(), 200_000))
        members = module.of_members(drawn.log()[:, None])
        for part in module.PARTS:
            assert found[part][i].item() == pytest.approx(members[part].item(), abs=5e-3)
        alpha = log_alpha[i].exp().numpy()
        data = -(alpha / alpha.sum() * (digamma(alpha + 1) - digamma(alpha.sum() + 1))).sum()
        assert found["data"][i].item() == pytest.approx(data)


def test_the_dirichlet_distribution_has_the_mean_and_the_spread_of_the_members(script):
    module, x = script("uncertainty"), torch.eye(6)
    torch.manual_seed(0)
    alike, unlike = nn.Linear(6, 3), nn.Linear(6, 3)
    each = torch.stack([alike(x).softmax(1), unlike(x).softmax(1)])
    p = each.mean(0)
    log_alpha = module.Dirichlet([alike, unlike])(x)
    spread = (p * (p / each).log()).sum(2).mean(0)  # the mean divergence from the mean to each
    torch.testing.assert_close(log_alpha.logsumexp(1).exp(), 1 / spread, rtol=1e-2, atol=0)  # (C - 1) / 2 is 1
    torch.testing.assert_close(log_alpha.softmax(1), p, atol=1e-4, rtol=0)
    same = module.Dirichlet([alike, alike])(x)
    assert (same.logsumexp(1) > log_alpha.logsumexp(1)).all()
    assert module.mean_and_precision(same, same).abs().max() < 1e-6
    assert (module.mean_and_precision(log_alpha, same) > 0).all()


def test_uncertainty_of_an_ensemble_and_its_students(script, tmp_path, monkeypatch):
    module, results = script("uncertainty"), script("text_runs").Results(tmp_path / "rows.json")
    for name, value in {"MEMBERS": 2, "PER_DIGIT": 4, "DIGIT_EPOCHS": 1}.items():
        monkeypatch.setattr(module, name, value)
    for seed in range(2):
        module.run_digits(results, little(channels=1), seed)
        module.run_cifar(results, little(), 1, seed)
    assert [row["method"] for row in results.rows[:5]] == list(module.METHODS)
    for row in results.rows[:5]:
        for name in ("test", "blends", "unseen"):
            parts = [row[f"{name} {part}"] for part in module.PARTS]
            assert parts[0] == pytest.approx(parts[1] + parts[2], abs=1e-6)
    assert len(list(module.tables(results, 1, module.DATA))) == 5
    assert len(list(module.tables(results, 1, ["CIFAR-10"]))) == 2


def test_what_is_fixed_does_not_follow_the_view(script, tmp_path, monkeypatch):
    module, data = script("long_and_mixed"), little(channels=1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    teacher = module.OfImage(network, data.prepare(data.x_train))
    teacher.rows = torch.tensor([4, 2])
    said = teacher.outputs(torch.zeros(2, 1, 16, 16), wanted=(module.logits,))[module.logits]
    torch.testing.assert_close(said, network(data.prepare(data.x_train[[4, 2]])))
    data = replace(data, augment=(importlib.import_module("ckd.data.preparation").RandomCrop(2),))
    for name, value in {"PER_CLASS": 3, "EPOCHS": (1, 2), "TEACHER_PER_CLASS": 6, "TEACHER_EPOCHS": 1}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "wide", lambda n_classes: nn.Sequential(nn.Flatten(), nn.Linear(256, n_classes)))
    results = script("text_runs").Results(tmp_path / "rows.json")
    module.run(results, data, 2)
    assert len(results.rows) == 1 + 2 * 2 * len(module.METHODS)
    assert len(module.table(results).splitlines()) == 2 + len(module.METHODS)


def test_canvases_show_the_digits_that_their_pixels_are_of(script):
    module = script("dense")
    x = torch.full((3, 1, 28, 28), 200, dtype=torch.uint8)
    shown, classes = module.canvases(x, torch.tensor([4, 4, 4]), 5, 0)
    assert shown.shape == (5, 1, module.CANVAS, module.CANVAS)
    assert torch.equal(classes == 5, shown[:, 0] > 0.5)
    assert set(classes.unique().tolist()) == {0, 5}
    assert int((classes[0] == 5).sum()) > 14 * 14


def test_pairwise_is_that_of_a_loop(script):
    module, generator = script("dense"), torch.Generator().manual_seed(0)
    ours, theirs = torch.randn(2, 3, 2, 2, generator=generator), torch.randn(2, 5, 2, 2, generator=generator)
    for sample, found in enumerate(module.pairwise(ours, theirs)):
        gaps = []
        for i in range(4):
            for j in range(4):
                a, b = (
                    torch.cosine_similarity(maps.flatten(1)[:, i], maps.flatten(1)[:, j], dim=0)
                    for maps in (ours[sample], theirs[sample])
                )
                gaps.append((a - b) ** 2)
        assert found.item() == pytest.approx(torch.stack(gaps).mean().item(), abs=1e-6)
    assert module.pairwise(3 * theirs, theirs).abs().max() < 1e-6


def test_intersection_over_union_is_that_of_sklearn(script):
    from sklearn.metrics import jaccard_score

    generator = torch.Generator().manual_seed(0)
    found, true = torch.randint(11, (2, 3, 9, 9), generator=generator)
    wanted = jaccard_score(true.flatten(), found.flatten(), average=None)
    assert script("dense").ious(found, true).numpy() == pytest.approx(wanted)


def test_dense_students_learn_from_pixels_and_pairs(script, tmp_path, monkeypatch):
    module, results = script("dense"), script("text_runs").Results(tmp_path / "rows.json")
    monkeypatch.setattr(module, "EPOCHS", 1)
    monkeypatch.setattr(module, "TEACHER_EPOCHS", 1)
    data = [module.canvases(*images(20, 10, channels=1, size=28), n, n) for n in (12, 4)]
    module.run(results, *data, 1)
    assert [row["method"] for row in results.rows] == ["teacher", *module.METHODS]
    assert len(module.table(results).splitlines()) == 3 + len(module.METHODS)
    kept = module.Kept(module.Segmenter(4), data[0][0])
    live = importlib.import_module("ckd").Fixed(kept.network)
    wanted = (module.logits, module.PLACES)
    rows = torch.tensor([3, 1])
    for output, value in kept.outputs(data[0][0][rows], None, wanted).items():
        torch.testing.assert_close(value, live.outputs(data[0][0][rows], None, wanted)[output])


def test_specialists_are_merged_and_taught_to_one_network(script, tmp_path, monkeypatch):
    module, results = script("specialists"), script("text_runs").Results(tmp_path / "rows.json")
    for name, value in {"PER_CLASS": 10, "EPOCHS": 1, "CLUSTERS": 3, "SPECIAL_EPOCHS": 1}.items():
        monkeypatch.setattr(module, name, value)
    data = little(120, classes=6)
    module.run_seed(results, data, 0)
    assert [row["method"] for row in results.rows] == list(module.METHODS)
    assert len(module.table(results).splitlines()) == 2 + len(module.METHODS)
    clusters = {(0, 1): None, (2, 3, 4, 5): None}
    said = torch.eye(6)[[1, 0, 5, 5]]
    assert module.within(said, torch.tensor([0, 1, 2, 0]), clusters) == 75.0


def test_a_specialist_starts_as_the_generalist_and_leaves_it_alone(script, monkeypatch):
    module, data = script("specialists"), little(40, classes=4)
    monkeypatch.setattr(module, "SPECIAL_RATE", 0.0)
    generalist = importlib.import_module("ckd.networks").network("tiny-resnet", (3, 16, 16), 4)
    before = {name: value.clone() for name, value in generalist.state_dict().items()}
    found = module.specialist(generalist, data, (1, 3), 0)
    assert found[-1].out_features == 3
    assert all(torch.equal(value, before[name]) for name, value in generalist.state_dict().items())
    assert torch.equal(found[0].weight, generalist[0].weight)

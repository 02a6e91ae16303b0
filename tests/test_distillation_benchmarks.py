"""The experiments on MNIST: the teacher that is kept, students of stored labels, biases of lost classes."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ckd.data import Arrays
from ckd.data.preparation import Preparation, Scale
from ckd.outputs import logits as logits_output
from ckd.recipes import naive

BENCHMARKS = Path(__file__).parents[1] / "benchmarks" / "distillation"


@pytest.fixture
def script(monkeypatch):
    """script(name) -> that module of benchmarks/distillation."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def arrays():
    """Ten classes, each a bright row of its own: 40 training and 20 test images."""

    def some(n, seed):
        x = torch.randint(0, 60, (n, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        y = torch.arange(n) % 10
        for i, label in enumerate(y.tolist()):
            x[i, 0, 4 + 2 * label : 6 + 2 * label] = 250
        return x, y

    return Arrays(*some(40, 0), *some(20, 1), Preparation((Scale(),)))


@pytest.fixture
def how(script):
    return script("mnist_runs").Training(epochs=2, lr=0.01, batch=20)


def test_the_teacher_is_trained_once_and_kept(script, arrays, how, tmp_path, monkeypatch):
    module, file = script("mnist_runs"), tmp_path / "teacher.safetensors"
    bounded = replace(how, max_norm=0.3)
    made = module.trained_teacher(file, arrays, bounded, 12)
    for layer in made:
        if isinstance(layer, torch.nn.Linear):
            assert layer.weight.norm(dim=1).max() <= 0.3 + 1e-5
    longer = module.trained_teacher(tmp_path / "longer.safetensors", arrays, bounded, 12, last=how)
    assert [layer.p for layer in longer if isinstance(layer, torch.nn.Dropout)] == [0, 0, 0]
    assert not torch.equal(longer[-1].weight, made[-1].weight)
    monkeypatch.setattr(module, "train", None)
    again = module.trained_teacher(file, arrays, bounded, 12)
    assert not again.training
    for name, value in again.state_dict().items():
        assert torch.equal(value, made.state_dict()[name])


def test_a_killed_run_of_the_teacher_ends_as_a_whole_one(script, arrays, how, tmp_path):
    module, longer, file = script("mnist_runs"), replace(how, epochs=4), tmp_path / "part"

    def run(labels, resumed=None):
        torch.manual_seed(3)
        network, views = module.teacher_network(8), module.jittered(arrays.x_train, 4)
        return module.train(network, naive(), views, labels, longer, 0, resumed=resumed).state_dict()

    class Killed(torch.Tensor):
        """Labels that are looked at in three epochs, of two batches each."""

        looks = 0

        def __getitem__(self, rows):
            self.looks += 1
            if self.looks > 6:
                raise KeyboardInterrupt
            return self.as_subclass(torch.Tensor)[rows]

    whole = run(arrays.y_train)
    with pytest.raises(KeyboardInterrupt):
        run(arrays.y_train.as_subclass(Killed), file)
    resumed = run(arrays.y_train, file)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name])


def test_stored_labels_are_the_teachers_for_the_view_that_is_shown(script, arrays, tmp_path):
    module, file = script("mnist_runs"), tmp_path / "labels.safetensors"
    teacher = module.teacher_network(8)
    views, rows = module.jittered(arrays.x_train, 2), torch.tensor([5, 0, 7])
    module.stored_labels(file, teacher, views)
    found = module.stored_labels(file, teacher, views)
    shown = views.inputs(1, rows)
    assert not torch.equal(shown, views.inputs(0, rows))
    torch.testing.assert_close(found.outputs(shown)[logits_output], teacher(shown))


def test_a_bias_gives_classes_their_share_of_the_probability(script):
    module = script("hinton_mnist")
    values = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    bias = module.matching_bias(values, [3, 7], 0.4)
    moved = values.double().numpy()
    moved[:, [3, 7]] += bias
    p = np.exp(moved)
    assert (p / p.sum(1, keepdims=True))[:, [3, 7]].sum(1).mean() == pytest.approx(0.4, abs=1e-5)


def test_the_best_bias_has_the_fewest_errors(script):
    module = script("hinton_mnist")
    values = torch.zeros(4, 10)
    values[:, 0] = torch.tensor([1.0, 2.0, 3.0, 1.5])  # over a class 3 of 0: it wins with a bias above this
    labels = torch.tensor([3, 3, 0, 3])
    assert 2 <= module.best_bias(values, labels, [3]) <= 3
    assert module.best_bias(values, labels, [3]) == pytest.approx(2.0, abs=0.11)


@pytest.fixture
def runs(script, arrays, how, tmp_path, monkeypatch):
    """Of small networks; `seen` has the classes that each student was shown, and its epochs."""
    module, seen = script("hinton_mnist"), []
    small, learn = script("mnist_runs").student, module.learn
    monkeypatch.setattr(module, "student", lambda width: small(6))

    def watched(width, objective, views, y, training, seed):
        seen.append((set(y.tolist()), training.epochs))
        return learn(width, objective, views, y, training, seed)

    monkeypatch.setattr(module, "learn", watched)
    results = script("text_runs").Results(tmp_path / "rows.json")
    return module.Runs(arrays, small(6), tmp_path, how, results), seen


def test_every_claim_is_run_and_no_part_twice(script, runs):
    module, (made, seen) = script("hinton_mnist"), runs
    for claim in module.CLAIMS.values():
        claim(made, 0)
    rows = json.loads(made.results.file.read_text())
    by_claim = {claim: [row for row in rows if row["claim"] == claim] for claim in module.CLAIMS}
    assert {claim: len(some) for claim, some in by_claim.items()} == {"1": 4, "3": 2, "2": 12, "jitter": 2}
    assert all(0 <= row["errors"] <= 20 for row in rows)
    assert all(row["best errors"] <= row["errors"] for row in by_claim["3"])
    assert len(module.table(rows).splitlines()) == 2 + len(rows)
    assert len(seen) == len(rows)
    for claim in module.CLAIMS.values():
        claim(replace(made, results=script("text_runs").Results(made.results.file)), 0)
    assert len(seen) == len(rows)


def test_a_student_sees_no_image_of_a_lost_class(script, runs):
    made, seen = runs
    script("hinton_mnist").claim_3(made, 0)
    assert seen == [({0, 1, 2, 4, 5, 6, 7, 8, 9}, 2), ({7, 8}, 10)]


def test_a_student_is_compared_with_its_teacher_from_within(script, runs, monkeypatch):
    pytest.importorskip("captum")
    pytest.importorskip("sklearn")
    module, (made, _), arrays = script("inside"), runs, runs[0].arrays
    monkeypatch.setattr(module, "student", script("hinton_mnist").student)
    script("hinton_mnist").claim_2(made, 0)
    inputs = arrays.x_test[:5].float() / 255
    network = script("mnist_runs").student(6)
    own = module.maps(network, inputs, arrays.y_test[:5])
    assert module.likeness(own, own) == pytest.approx({"gradient": 1, "integrated": 1}, abs=1e-5)
    x = inputs.clone().requires_grad_()
    z = network(x)
    (z.gather(1, arrays.y_test[:5, None])[:, 0] - z.mean(1)).sum().backward()
    torch.testing.assert_close(own["gradient"], x.grad.flatten(1))
    with torch.no_grad():
        gain = module.Centred(network)(inputs) - module.Centred(network)(inputs * 0)
    wanted = gain.gather(1, arrays.y_test[:5, None])[:, 0]
    torch.testing.assert_close(own["integrated"].sum(1), wanted, atol=0.02, rtol=0.05)
    results = script("text_runs").Results(made.results.file.parent / "inside.json")
    module.look_at_all(made.results, results, own, inputs, arrays, 2)
    assert len(results.rows) == 12  # of the one seed that is there
    assert all(-1 <= row["gradient"] <= 1 and 0 <= row["first"] <= 100 for row in results.rows)
    assert len(module.table(results).splitlines()) == 14


def test_errors_are_counted(script, arrays):
    network = script("mnist_runs").student(6)
    with torch.no_grad():
        predicted = network(arrays.x_train.float() / 255).argmax(1)
    found = script("hinton_mnist").errors(network, arrays)
    assert found["training errors"] == int((predicted != arrays.y_train).sum())

"""On a GPU everything ends as it does on the CPU. Skipped, with a reason, where there is none."""

import json
import subprocess
import sys

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.models.batch_renorm import BatchRenorm2D
from shared import learn_experience
from torch import nn
from torch.utils.data import TensorDataset

from ckd import Engine, SelfDistillation
from ckd.anchors.factors import _eigh
from ckd.bench import plan, run
from ckd.bench.saving import Saving
from ckd.cli import main
from ckd.deploy import cost
from ckd.devices import moved, on
from ckd.objective import logits
from ckd.plugins import Checkpoint, TensorLoader
from ckd.recipes import RECIPES
from ckd.teachers import SoftLabels, write_soft_labels

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

GPU = torch.device("cuda")
SHORT = {"n_experiences": 5, "epochs": 1, "samples_per_class": 60, "batch_size": 10, "memory_size": 50}
ALONE = sorted(name for name, recipe in RECIPES.items() if not recipe.teacher and recipe.strategy == "Naive")


@pytest.fixture(autouse=True)
def whole_products(monkeypatch):
    """No TF32, which rounds the factors of a convolution to 10 bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def student():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6)).double()


def built(name):
    return RECIPES[name].build(**({"memory_size": 20} if "memory_size" in RECIPES[name].defaults else {}))


def close(one, other):
    """Whether the weights are the same on both devices, up to the order of sums and what is kept in fewer bits."""
    for name, wanted in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name].cpu(), wanted, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("name", ALONE)
def test_every_recipe_ends_with_the_weights_of_the_cpu(name, blobs, benchmark_of, naive, train):
    benchmark, ends = benchmark_of(blobs(dtype=torch.float64)), []
    for device in (torch.device("cpu"), GPU):
        plugin = SelfDistillation(built(name))
        strategy = naive(student().to(device), [plugin], lr=0.05, device=device)
        train(strategy, benchmark, evaluate=True)
        answers = plugin.engine.evaluation_model(strategy.model)
        assert all(t.device.type == device.type for t in strategy.model.state_dict().values())
        ends.append((strategy.model, answers))
    for one, other in zip(*ends, strict=True):
        close(one, other)


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("end_on", ["cpu", "cuda"], ids=["data of the end on the cpu", "data of the end on the gpu"])
def test_so_it_does_in_a_plain_loop(name, end_on, blobs):
    ends = []
    for device in (torch.device("cpu"), GPU):
        model, engine = student().to(device), Engine(built(name))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        torch.manual_seed(1)
        for x, y in blobs(dtype=torch.float64):
            batches = [(bx.to(device), by.to(device)) for bx, by in zip(x.split(8), y.split(8), strict=True)]
            where = device if end_on == "cuda" else "cpu"
            learn_experience(engine, model, x.to(where), y.to(where), batches, optimizer)
        ends.append((model, engine.evaluation_model(model)))
    for one, other in zip(*ends, strict=True):
        close(one, other)


@pytest.mark.parametrize("recipe", ["er", "der++", "mean-er", "bic", "tether", "ballast", "self-distillation", "joint"])
@pytest.mark.parametrize("network", ["mlp", "small-resnet"])
def test_runs_learn_as_they_do_on_the_cpu(recipe, network):
    spec = plan("split-digits", recipe, seed=0, network=network, **SHORT)
    cpu, gpu = (run(spec, device=device).matrix.average_accuracy() for device in ("cpu", "cuda"))
    assert gpu == pytest.approx(cpu, abs=0.05)


@pytest.mark.parametrize("recipe", ["der++", "tether", "ballast"])
def test_bfloat16_and_the_compiler_learn_too(recipe):
    spec = plan("split-digits", recipe, seed=0, network="small-resnet", precision="bfloat16", **SHORT)
    assert run(spec, device="cuda").matrix.average_accuracy() > 0.4
    if recipe == "der++":
        compiled = plan("split-digits", recipe, seed=0, network="small-resnet", compiled=True, **SHORT)
        assert run(compiled, device="cuda").matrix.average_accuracy() > 0.4


COMMAND = "import sys; from ckd.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.parametrize("recipe", ["der++", "tether", "ballast", "mean-er"])
def test_deterministic_runs_are_the_same_bit_for_bit(recipe, tmp_path):
    found = []
    for i in range(2):
        given = ["split-digits", "--recipe", recipe, "--network", "small-resnet", "--batch-size", "10", "--epochs", "1"]
        where = ["--deterministic", "--samples-per-class", "60", "--device", "cuda", "--out", str(tmp_path / str(i))]
        done = subprocess.run([sys.executable, "-c", COMMAND, "run", *given, *where], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (file,) = (tmp_path / str(i)).rglob("result.json")
        content = json.loads(file.read_text())
        found.append((content["accuracy_matrix"], content["losses"]))
    assert found[0] == found[1]


class Killed(BaseException):
    pass


def test_what_the_gpus_solver_gives_up_on_the_cpu_solves(monkeypatch):
    solve = torch.linalg.eigh

    def gives_up(matrix):
        if matrix.is_cuda:
            raise torch.linalg.LinAlgError("failed to converge")
        return solve(matrix)

    monkeypatch.setattr(torch.linalg, "eigh", gives_up)
    matrix = torch.randn(9, 4, device=GPU)
    values, vectors = _eigh(matrix @ matrix.T)
    assert values.device.type == vectors.device.type == "cuda"
    torch.testing.assert_close((vectors * values) @ vectors.T, (matrix @ matrix.T).double())


@pytest.mark.parametrize(
    "recipe", ["der++", "tether", "ballast", "bic", "icarl", "wa", "bfp", "mean-er", "self-distillation"]
)
@pytest.mark.parametrize(("first", "then"), [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
def test_a_killed_run_goes_on_there_or_on_the_other_device(recipe, first, then, tmp_path, monkeypatch):
    spec = plan("split-digits", recipe, seed=0, **SHORT)
    wanted = run(spec, device=first)
    hook, left = Checkpoint.after_training_iteration, [30]

    def counted(self, strategy, **given):
        left[0] -= 1
        if not left[0]:
            raise Killed
        hook(self, strategy, **given)

    monkeypatch.setattr(Checkpoint, "after_training_iteration", counted)
    with pytest.raises(Killed):
        run(spec, device=first, saving=Saving(tmp_path, 4))
    found = run(spec, device=then, saving=Saving(tmp_path, 4))
    assert found.steps == wanted.steps
    assert found.matrix.average_accuracy() == pytest.approx(wanted.matrix.average_accuracy(), abs=0.02)


@pytest.mark.parametrize("recipe", ["kd", "hint", "review", "relational", "dkd", "mutual", "born-again"])
def test_a_teacher_teaches_a_smaller_network(recipe, tmp_path):
    given = ["distil", "digits", "--student", "tiny-resnet", "--recipe", recipe, "--epochs", "1", "--seeds", "1"]
    assert main([*given, "--device", "cuda", "--out", str(tmp_path)]) == 0
    results = [json.loads(file.read_text()) for file in tmp_path.rglob("result.json")]
    assert {result["recipe"] for result in results} >= {recipe}


def test_soft_labels_are_written_and_read(tmp_path):
    inputs, teacher = torch.randn(20, 6, device=GPU), student().float().to(GPU).eval()
    write_soft_labels(tmp_path / "labels", teacher, inputs.split(6), dtype="float32")
    read = SoftLabels.read(tmp_path / "labels").outputs(inputs[3:9])[logits]
    assert read.device.type == "cuda"
    torch.testing.assert_close(read, teacher(inputs)[3:9])


def test_what_comes_back_from_the_gpu_has_come():
    large = torch.arange(2.0**24, device=GPU)
    for _ in range(20):
        large = large.sin()
    assert torch.equal(on(torch.device("cpu"), large), large.cpu())


def test_a_cost_counts_recurrent_layers():
    network, example = nn.LSTM(4, 8, batch_first=True), torch.randn(1, 5, 4)
    assert cost(network.to(GPU), example.to(GPU)).multiply_adds == cost(network.cpu(), example).multiply_adds


def test_statistics_that_move_with_the_first_forward_pass_are_averaged(blobs):
    """Avalanche's BatchRenorm keeps tensors that are no buffers."""
    layers = nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 1), BatchRenorm2D(4), nn.ReLU(), nn.Flatten(), nn.Linear(24, 6)
    engine, model = Engine(built("mean-er")), nn.Sequential(*layers).to(GPU)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for x, y in blobs():
        there = x.to(GPU), y.to(GPU)
        learn_experience(engine, model, *there, [there] * 2, optimizer)
    engine.evaluation_model(model)(torch.randn(3, 6, device=GPU))


def test_raw_samples_on_the_cpu_are_remembered_beside_labels_on_the_gpu():
    model, engine = nn.Linear(6, 6).to(GPU), Engine(built("der++"))
    engine.begin(range(6))
    for _ in range(3):
        x, y = torch.randn(8, 6), torch.arange(8) % 6
        engine.loss(model, x.to(GPU), y.to(GPU), raw=x).backward()
        engine.after_update()


def test_data_that_lie_on_the_gpu_are_read_as_tensors(naive):
    data = TensorDataset(torch.randn(20, 6, device=GPU), torch.arange(20, device=GPU) % 6)
    data.targets = data.tensors[1].tolist()
    benchmark = benchmark_from_datasets(train=[as_classification_dataset(data)], test=[as_classification_dataset(data)])
    strategy = naive(nn.Linear(6, 6).to(GPU), [SelfDistillation(built("der++")), TensorLoader()], device=GPU)
    strategy.train(benchmark.train_stream[0])


def test_a_state_that_was_mapped_to_the_gpu_is_loaded(blobs):
    for name in ALONE:
        model, engine = student().to(GPU), Engine(built(name))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for x, y in blobs(dtype=torch.float64)[:2]:
            there = x.to(GPU), y.to(GPU)
            learn_experience(engine, model, *there, [there] * 2, optimizer)
        Engine(built(name)).load_state_dict(moved(engine.state_dict(), GPU), model)

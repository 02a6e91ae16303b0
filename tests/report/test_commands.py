"""The command of a row makes the same runs again."""

import shlex

import pytest

from ckd import cli
from ckd.bench import plan
from ckd.report.commands import command


@pytest.fixture
def planned(monkeypatch):
    """planned(command) -> the specs that it would run."""
    import ckd.bench

    def of(text):
        caught = []
        monkeypatch.setattr(ckd.bench, "run_suite", lambda specs, *_, **__: caught.extend(specs))
        assert cli.main(shlex.split(text)[1:]) == 0
        return caught

    return of


@pytest.mark.parametrize(
    ("benchmark", "recipe", "given"),
    [
        ("split-digits", "naive", {}),
        ("permuted-mnist", "der++", {"memory_size": 500}),
        ("split-cifar10", "ballast", {"settings": {"decay": 0.9, "herded": 0}, "validate": True}),
        ("split-cifar10", "icarl", {"average": 0.995, "network": "convnet", "epochs": 3}),
        ("split-cifar100", "er", {"variant": "online", "precision": "bfloat16", "compiled": True}),
        ("split-cifar100", "er", {"variant": "online", "online": False}),
        ("split-digits", "er", {"online": True, "epochs": 1}),
        ("split-digits", "er", {"stream": "shuffled", "momentum": 0.9, "weight_decay": 0.001}),
        ("split-cifar100", "er", {"variant": "online", "stream": "split"}),
        ("split-cifar100", "er", {"variant": "online"}),
        ("split-cifar10", "er", {"variant": "full", "lr_end": 0.1}),
        ("split-digits", "er", {"lr_steps": (2, 4)}),
        ("cifar100", "naive", {"variant": "full", "epochs": 24}),
        ("cifar100", "naive", {"variant": "full", "lr_steps": ()}),
        ("cifar100", "naive", {"variant": "full", "epochs": 480, "lr_steps": (150, 180, 210)}),
        ("split-digits", "er", {"lr_steps": (2, 4), "lr_end": 1.0}),
        ("split-digits", "er", {"memory_size": 0}),
        (
            "split-cifar10",
            "er",
            {
                "samples_per_class": "all",
                "n_experiences": 2,
                "passes": 3,
                "batch_size": 7,
                "lr": 1,
                "evaluate_every": 5,
            },
        ),
    ],
)
def test_it_plans_the_same(planned, benchmark, recipe, given):
    wanted = [plan(benchmark, recipe, seed=seed, **given) for seed in range(2)]
    found = planned(command(wanted[0], [0, 1]))
    assert [(spec.folder, spec.seed) for spec in found] == [(spec.folder, spec.seed) for spec in wanted]


def test_text_is_written_as_set_reads_it(planned, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from ckd.objective import Objective\ndef build(*, words=''):\n    return Objective('mine')\n")
    wanted = plan("split-digits", f"{file}:build", seed=0, settings={"words": "a=b, c"})
    assert [spec.folder for spec in planned(command(wanted, [0]))] == [wanted.folder]


def test_what_ckd_run_cannot_ask_for_is_said():
    alone = plan("digits", "naive", seed=0)
    taught = plan("digits", "kd", seed=0, teachers=[alone])
    for spec in (taught, plan("digits", "naive", seed=0, sparsity=0.5)):
        assert command(spec, [0]).startswith("Made by `ckd distil`")
    assert command(alone, [0]).startswith("ckd run digits --recipe naive")


def test_what_the_protocol_says_is_left_out():
    assert command(plan("split-cifar10", "er", seed=0, variant="full"), [0]) == (
        "ckd run split-cifar10 --recipe er --memory-size 200 --protocol full --seeds 1"
    )
    assert command(plan("split-digits", "naive", seed=0), [3, 4, 5]).endswith("--seeds 3-5")
    assert command(plan("split-digits", "naive", seed=0), [7, 2]).endswith("--seeds 2,7")


def test_a_recipe_or_benchmark_that_is_a_file_is_not_run(tmp_path):
    from dataclasses import replace

    file = tmp_path / "evil.py"
    file.write_text("raise SystemExit('run')")
    spec = plan("split-digits", "er", seed=0, memory_size=10)
    assert f"--recipe {file}:evil" in command(replace(spec, recipe=f"{file}:evil"), [0])
    assert f"ckd run {file}:evil --recipe er" in command(replace(spec, benchmark=f"{file}:evil"), [0])

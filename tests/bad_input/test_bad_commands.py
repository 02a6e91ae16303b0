"""A table of bad arguments: what came, and what the user is told; nothing is trained, nothing lost."""

import pytest
from commands import DISTIL, RUN, TINY, TUNE

HUGE = 10**30
DER = ("run", "split-digits", "--recipe", "der++", *TINY)

NUMBERS = {
    ("--seeds", "x"): "a number of seeds",
    ("--seeds", ""): "a number of seeds",
    ("--seeds", "1.5"): "a number of seeds",
    ("--seeds", "-1"): "a number of seeds",
    ("--seeds", "1000000000"): "at most 10000",
    ("--seeds", "0-1000000000"): "at most 10000",
    ("--seeds", "5-3"): "a number of seeds",
    ("--seeds", f"{2**70}-{2**70}"): "a number of seeds",
    ("--seeds", f"{2**63}-{2**63}"): "seed: expected a whole number from 0 to",
    ("--memory-size", "-1"): "memory size",
    ("--memory-size", HUGE): "memory size: expected a whole number from 0 to",
    ("--memory-size", "9" * 5000): "invalid int value",
    ("--memory-size", "many"): "invalid int value",
    ("--batch-size", "0"): "batch size: expected a whole number, 1 or more",
    ("--batch-size", "-4"): "batch size",
    ("--batch-size", HUGE): "batch size: expected a whole number from 1 to",
    ("--epochs", "0"): "epochs",
    ("--epochs", HUGE): "epochs",
    ("--passes", "0"): "passes",
    ("--passes", HUGE): "passes",
    ("--experiences", "0"): "experiences",
    ("--experiences", "3"): "a divisor of 10",
    ("--experiences", HUGE): "experiences: expected a whole number from 1 to",
    ("--samples-per-class", "0"): "samples per class: expected a whole number, 1 or more",
    ("--samples-per-class", "-3"): "samples per class",
    ("--samples-per-class", HUGE): "samples per class",
    ("--samples-per-class", "some"): "invalid count value",
    ("--evaluate-every", "-1"): "evaluate every",
    ("--evaluate-every", HUGE): "evaluate every",
    ("--lr", "0"): "learning rate: expected above 0",
    ("--lr", "-0.1"): "learning rate",
    ("--lr", "nan"): "learning rate",
    ("--lr", "inf"): "learning rate: expected above 0, at most",
    ("--lr", "1e300"): "learning rate: expected above 0, at most",
    ("--lr-end", "nan"): "end of the learning rate",
    ("--lr-end", "2"): "end of the learning rate",
    ("--momentum", "1"): "momentum: expected from 0 to below 1",
    ("--momentum", "nan"): "momentum",
    ("--weight-decay", "-1"): "weight decay",
    ("--weight-decay", "inf"): "weight decay",
    ("--average", "1"): "average: expected from 0 to below 1",
    ("--average", "nan"): "average",
    ("--jobs", "0"): "jobs",
    ("--jobs", "-2"): "jobs",
    ("--cpus-per-run", "2"): "Add --ray",
}

NAMES = {
    ("--network", ""): "unknown network",
    ("--network", "resnet"): "Did you mean 'resnet18'",
    ("--network", "nowhere.py:build"): "No such file",
    ("--network", "nowhere:build"): "No module named 'nowhere'",
    ("--network", "os:nothing"): "a function of os",
    ("--recipe", ""): "unknown recipe",
    ("--recipe", "der+"): "Did you mean 'der++'",
    ("--recipe", "nowhere.py"): "no such file",
    ("--recipe", "kd"): "a trained teacher",
    ("--device", "meta"): "device: expected cpu",
    ("--device", "nonsense"): "device: expected cpu",
    ("--device", "cuda:999"): "device: expected cpu",
    ("--device", ""): "device: expected cpu",
    ("--precision", "float8"): "unknown precision",
    ("--protocol", "nonsense"): "unknown protocol",
    ("--stream", "permuted"): "stream of split-digits",
    ("--track", "nonsense"): "unknown tracker",
    ("--set", "alpha=1"): "unknown hyper-parameter",
    ("--set", "memory_size=7"): "Use --memory-size",
    ("--set", "memory_batch_size=0"): "memory batch size",
    ("--set", "memory_batch_size=1.5"): "a whole number",
    ("--set", "memory_batch_size=-1"): "0 or more",
    ("--force", "--keep"): "not allowed with",
}

SETTINGS = {
    "alpha": "NAME=NUMBER",
    "alpha=": "NAME=NUMBER",
    "=1": "unknown hyper-parameter",
    "alpha=a lot": "NAME=NUMBER",
    "alpha=None": "a number",
    "alpha=True": "a number",
    "alpha=[1]": "a number",
    "alpha=-1": "hyper-parameter 'alpha': expected 0 or more",
    "beta=-1e-9": "hyper-parameter 'beta': expected 0 or more",
    "alpha=1e400": "a number",
    f"alpha={'9' * 400}": "a number; received about 10**400",
    f"alpha={'(' * 500}{')' * 500}": "NAME=NUMBER",
    "alpha=__import__('os').system('true')": "NAME=NUMBER",
}

OTHERS = {
    "benchmark ''": (("run", "", "--recipe", "er"), "unknown benchmark"),
    "benchmark ../": (("run", "../", "--recipe", "er"), "unknown benchmark"),
    "benchmark of no file": (("run", "nowhere.npz", "--recipe", "er"), "nowhere.npz"),
    "benchmark of no module": (("run", "nowhere:rings", "--recipe", "er"), "No module named"),
    "experiences of a permuted stream": (
        ("run", "permuted-digits", "--recipe", "er", "--experiences", 10**15),
        "number of experiences: expected a whole number from 1 to 10000",
    ),
    "no teachers": ((*DISTIL, "--teachers", "0"), "teachers: expected a whole number, 1 or more"),
    "too many teachers": ((*DISTIL, "--teachers", HUGE), "teachers"),
    "no epochs of the teacher": ((*DISTIL, "--teacher-epochs", "0"), "epochs of the teacher"),
    "no generation": ((*DISTIL, "--generations", "0"), "generations"),
    "too many generations": ((*DISTIL, "--recipe", "born-again", "--generations", HUGE), "generations"),
    "sparsity of 1": ((*DISTIL, "--sparsity", "1"), "sparsity: expected from 0 to below 1"),
    "sparsity nan": ((*DISTIL, "--sparsity", "nan"), "sparsity"),
    "no teacher's file": ((*DISTIL, "--teacher", "nowhere.safetensors"), "No such file"),
    "layers for kd": ((*DISTIL, "--layers", "a=b"), "a recipe that matches layers"),
    "layers that are not there": ((*DISTIL, "--recipe", "hint", "--layers", "a=b"), "unknown module path"),
    "layers =": ((*DISTIL, "--recipe", "hint", "--layers", "="), "pairs of layers"),
    "recipe without a teacher": ((*DISTIL, "--recipe", "er"), "one that takes a teacher"),
    "nothing searched": (("tune", "split-digits", "--recipe", "er"), "a range"),
    "search backwards": ((*TUNE, "--search", "lr=0.3:0.1"), "LOW below HIGH"),
    "search twice": ((*TUNE, "--search", "lr=0.1:0.2"), "each name once"),
    "search of no number": ((*TUNE, "--search", "lr=a:b"), "NAME=LOW:HIGH"),
    "search to infinity": ((*TUNE, "--search", "lr=0.1:inf"), "LOW below HIGH"),
    "search beyond float32": (
        ("tune", "split-digits", "--recipe", "er", "--search", "lr=0.1:1e300"),
        "learning rate: expected above 0, at most",
    ),
    "search below 0": (
        ("tune", "split-digits", "--recipe", "der++", "--search", "alpha=-1:1"),
        "expected 0 or more",
    ),
    "no trials": ((*TUNE, "--trials", "0"), "trials"),
    "too many trials": ((*TUNE, "--trials", HUGE), "trials"),
    "too many seeds of a trial": ((*TUNE, "--seeds", HUGE), "seeds: expected a whole number from 1 to 10000"),
}


def shown(value):
    return (value if isinstance(value, str) else " ".join(map(str, value)))[:40]


@pytest.mark.parametrize(("option", "said"), NUMBERS.items(), ids=shown)
def test_a_number_that_cannot_work(refused, option, said):
    refused((*RUN, *option), said)


@pytest.mark.parametrize(("option", "said"), NAMES.items(), ids=shown)
def test_a_name_or_choice_that_cannot_work(refused, option, said):
    refused((*RUN, *option), said)


@pytest.mark.parametrize(("setting", "said"), SETTINGS.items(), ids=shown)
def test_a_setting_that_cannot_work(refused, setting, said):
    refused((*DER, "--set", setting), said)


@pytest.mark.parametrize(("arguments", "said"), OTHERS.values(), ids=OTHERS.keys())
def test_a_command_that_cannot_work(refused, arguments, said):
    refused(arguments, said)


@pytest.mark.parametrize("out", ["a\0b", "/proc/none", "x" * 5000, "file/out"])
@pytest.mark.parametrize("command", [RUN, TUNE, DISTIL], ids=lambda c: c[0])
def test_an_output_folder_that_cannot_be_written(refused, tmp_path, command, out):
    (tmp_path / "file").touch()
    refused((*command, "--out", out), "a folder that can be written", out=False)


def test_a_folder_of_one_run_that_cannot_be_written_is_noticed_before_any_is_trained(refused, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "split-digits").touch()
    refused((*RUN, "--recipe", "naive"), "a folder that can be written")

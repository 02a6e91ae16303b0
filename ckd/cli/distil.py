"""`ckd distil`: what it takes, and what it does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ckd.cli.shared import (
    NETWORK,
    add_checkpoints,
    add_deterministic,
    add_divergence,
    add_finished,
    add_jobs,
    add_track,
    add_training,
    check_names,
    own_process,
    running_of,
    settings_of,
    training_of,
)
from ckd.numbers import check_whole
from ckd.seeds import MOST, parse_seeds

EXPORTS = ("onnx", "int8", "program")


def add(commands: Any) -> None:
    """Add the command."""
    distil: argparse.ArgumentParser = commands.add_parser(
        "distil",
        help="train a small network with a large one as teacher, and compare",
        description="Train a teacher, the student alone and the student with the teacher; compare accuracy, agreement, "
        "calibration, size and time; keep the networks. What is finished is kept.",
        allow_abbrev=False,
    )
    distil.add_argument("data", metavar="DATA", nargs="?", default="digits", help=_DATA)
    distil.add_argument("--teacher", metavar="T", help="a network to train, or FILE.safetensors with a trained one")
    distil.add_argument("--student", metavar="S", help=NETWORK)
    distil.add_argument("--recipe", action="append", metavar="R", help="with a teacher, from `ckd list` (default: kd)")
    distil.add_argument("--seeds", default="3", metavar="S", help="5: 0 to 4; 3-7; or 0,2,5 (default: %(default)s)")
    distil.add_argument("--teachers", type=int, default=1, metavar="N", help="networks that teach as an ensemble")
    distil.add_argument(
        "--teacher-epochs", type=int, metavar="E", help="passes of the teacher (default: as the student)"
    )
    distil.add_argument("--teacher-network", metavar="NAME", help="of a file that does not say which network it is of")
    distil.add_argument("--generations", type=int, default=1, metavar="G", help="of born-again (default: %(default)s)")
    distil.add_argument(
        "--layers", metavar="A=B,...", help="layers to match, student=teacher (default: their stages, or the last)"
    )
    distil.add_argument("--sparsity", type=float, default=0.0, metavar="P", help="prune this share of the student")
    distil.add_argument(
        "--export",
        action="append",
        default=[],
        choices=EXPORTS,
        help="write the first recipe's first student as ONNX, as ONNX in 8-bit integers, or for torch.export",
    )
    distil.add_argument("--validate", action="store_true", help="test on a tenth of the training data, held out")
    add_training(distil)
    add_jobs(distil)
    add_finished(distil)
    add_checkpoints(distil)
    add_divergence(distil)
    add_deterministic(distil)
    add_track(distil)
    distil.set_defaults(act=act)


_DATA = (
    "digits, mnist, cifar10, cifar100 or another name from `ckd list`, of which all classes come at once; FILE.npz; "
    "or FILE.py:function (default: %(default)s)"
)


def act(arguments: argparse.Namespace) -> None:
    """Train a teacher, the student alone and with the teacher, and compare them."""
    seeds, named = parse_seeds(arguments.seeds), arguments.recipe or ["kd"]
    check_whole("teachers", arguments.teachers, least=1, most=MOST)
    check_names(arguments.data, named, arguments.teacher, arguments.student, arguments.teacher_network)
    from rich.console import Console

    from ckd.bench import exports
    from ckd.bench.distil import check_networks, out_of, plan_distillation, with_layers
    from ckd.bench.diverged import DivergedError
    from ckd.bench.students import methods, save_methods, table
    from ckd.bench.suite import run_all
    from ckd.bench.tables import print_whole
    from ckd.bench.teachers import file_of, loaded, read_network
    from ckd.data import tensor_stream
    from ckd.recipes import get

    recipes = tuple(dict.fromkeys(get(r).name for r in named))
    settings = settings_of(arguments.set, recipes)
    if arguments.layers:
        settings = with_layers(settings, arguments.layers)
    planned = plan_distillation(
        arguments.data,
        recipes=recipes,
        teacher=arguments.teacher,
        student=arguments.student,
        seeds=seeds,
        teacher_seeds=range(arguments.teachers),
        teacher_epochs=arguments.teacher_epochs,
        teacher_network=arguments.teacher_network,
        generations=arguments.generations,
        settings=settings,
        sparsity=arguments.sparsity,
        validate=arguments.validate,
        **training_of(arguments),
    )
    how = {"data_root": arguments.data_root, "validate": arguments.validate, "stream": arguments.stream}
    few = planned.runs[0].samples_per_class
    stream = tensor_stream(arguments.data, n_experiences=1, samples_per_class=few, **how)
    check_networks(planned, stream)
    own_process()
    out, console = Path(arguments.out or out_of(arguments.data)), Console()
    results, failed = run_all(
        planned.runs,
        out,
        **running_of(arguments),
        keep_networks=True,
        called=planned.name,
        console=console,
    )
    found = methods(planned, results, out, stream)
    print_whole(console, table(arguments.data, found, [run.spec for run in failed]))
    save_methods(found, out / "students.json")
    finished = {result.spec.folder for result in results}
    student = next((spec for spec in planned.taught if spec.folder in finished), None)
    if student is None:
        raise DivergedError.of(failed)
    content = read_network(file_of(student, out))
    exports.remove_others(content, out)
    (out / "student.safetensors").write_bytes(content)
    told = f"{planned.student_name(student)}, seed {student.seed}"
    if arguments.export:
        network = loaded(student.network, content, stream)
        console.print(exports.table(exports.export(arguments.export, network, stream, out), told))
    console.print(f"results, students.json and student.safetensors ({told}) are in {out}", highlight=False)
    if failed:
        raise DivergedError.of(failed)

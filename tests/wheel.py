"""Checks of what a user installs: `make wheel` runs this file with a Python that has the wheel and mypy.

python tests/wheel.py dist    the folder of the wheel and of the source archive
"""

import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
USERS_PROJECT = """\
import torch
from ckd import Engine, SelfDistillation, recipes

plugin: SelfDistillation = SelfDistillation(recipes.der_plus_plus(memory_size=20, alpha=0.1, beta=0.5))
engine = Engine(recipes.er(memory_size=20))
student = torch.nn.Linear(4, 2)
engine.begin(classes=range(2))
engine.loss(student, torch.zeros(3, 4), torch.tensor([0, 1, 0])).backward()
{mistake}
"""


def check_contents(dist):
    """The wheel holds the files of ckd/ and the licence; the source archive besides only what building one needs."""
    (wheel,), (archive,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    tracked = subprocess.run(["git", "ls-files", "ckd"], cwd=ROOT, capture_output=True, text=True, check=True)
    package = set(tracked.stdout.split())
    inside = set(zipfile.ZipFile(wheel).namelist())
    notes = {name for name in inside if name.split("/")[0].endswith(".dist-info")}
    assert inside - notes == package, f"not as in ckd/: {sorted((inside - notes) ^ package)}"
    assert any(name.endswith("licenses/LICENSE") for name in notes), "no licence in the wheel"
    with tarfile.open(archive) as opened:
        source = {member.name.split("/", 1)[1] for member in opened if member.isfile()}
    assert package <= source, f"not in the source archive: {sorted(package - source)}"
    others = {name.split("/")[0] for name in source - package}
    needed = {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "docs", "pyproject.toml", "setup.cfg"}
    assert others == {*needed, "avalanche_ckd.egg-info"}, f"unexpected in the source archive: {sorted(others - needed)}"
    for file in (wheel, archive):
        print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")


def run(*command):
    """What a command prints, run outside the checkout without its PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, done.stdout + done.stderr


def check_installed():
    """`ckd` is the wheel's, its demo runs in an empty folder, and its types are seen by mypy in a user's project."""
    code, home = run(sys.executable, "-c", "import ckd; print(ckd.__file__)")
    assert code == 0, home
    assert Path(home.strip()).is_relative_to(sysconfig.get_path("purelib")), f"not the wheel's: {home}"
    code, printed = run(str(Path(sysconfig.get_path("scripts")) / "ckd"), "demo")
    assert code == 0, printed
    assert Path("runs/demo/report.html").is_file(), printed
    print(printed)
    for mistake, expected in (("plugin = SelfDistillation(memory_size='many')", 1), ("", 0)):
        Path("project.py").write_text(USERS_PROJECT.format(mistake=mistake), encoding="utf-8")
        code, printed = run(sys.executable, "-m", "mypy", "--strict", "project.py")
        assert code == expected, printed
        assert bool(mistake) == ("[arg-type]" in printed), printed
    code, printed = run(sys.executable, "project.py")
    assert code == 0, printed


if __name__ == "__main__":
    check_contents(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        check_installed()

"""The digest of the code: any file of the package changes it, and nothing else."""

from pathlib import Path

import ckd
from ckd.bench.code import CODE, digest
from ckd.bench.result import provenance


def package(folder, **files):
    for name, text in files.items():
        file = folder / name.replace("__", "/").replace("_py", ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return digest(folder)


def test_results_carry_the_digest_of_this_package():
    assert provenance()["code"] == CODE == digest(Path(ckd.__file__).parent)


def test_the_digest_is_that_of_the_files(tmp_path):
    files = {"a_py": "x = 1", "inner__b_py": "y = 2"}
    first = package(tmp_path / "first", **files)
    assert package(tmp_path / "again", **files, notes="text", inner__data="1") == first
    assert package(tmp_path / "shown", **files, report__page_py="z = 1", cli__actions_py="") == first
    others = [
        {**files, "a_py": "x = 3"},
        {**files, "c_py": ""},
        {"a_py": "x = 1", "other__b_py": "y = 2"},
        {"a_py": "y = 2", "inner__b_py": "x = 1"},
    ]
    found = {package(tmp_path / str(i), **other) for i, other in enumerate(others)}
    assert len(found) == 4
    assert first not in found

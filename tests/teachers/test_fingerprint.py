"""Fingerprints of networks and teachers: equal for equal tensors, whatever they lie on."""

import copy
import hashlib

import pytest
import torch
from torch import nn

from ckd.teachers import Ema, Ensemble, Fixed, Snapshot, SoftLabels, fingerprint, write_soft_labels


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4))


def test_it_is_the_digest_of_names_dtypes_shapes_and_bytes():
    model = nn.Linear(2, 3)
    digest = hashlib.sha256()
    for name, value in (("weight", model.weight), ("bias", model.bias)):
        digest.update(f"{name} torch.float32 {list(value.shape)}\n".encode() + value.detach().numpy().tobytes())
    assert fingerprint(model) == digest.hexdigest()


def test_mode_gradients_and_memory_format_play_no_part():
    model, other = network(), network()
    other.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    assert fingerprint(model) == fingerprint(other) == fingerprint(copy.deepcopy(model))


def test_what_torch_compile_returns_has_that_of_what_was_compiled():
    compiled = nn.Module()
    compiled._orig_mod = network()  # as torch.compile keeps it
    assert fingerprint(compiled) == fingerprint(network())


CHANGES = {
    "a weight": lambda model: model[0].weight.data[0, 0, 0, 0].add_(1e-6),
    "a statistic": lambda model: model[1].running_var.mul_(2),
    "a counter": lambda model: model[1].num_batches_tracked.add_(1),
    "the dtype": lambda model: model.half(),
    "a name": lambda model: model.add_module("9", model._modules.pop("3")),
    "a shape": lambda model: setattr(model[3], "weight", nn.Parameter(model[3].weight.data.reshape(12, 4))),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_of_the_tensors_shows(change):
    model = network()
    change(model)
    assert fingerprint(model) != fingerprint(network())


def test_bfloat16_and_plain_data_beside_the_tensors():
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"any": object()}

        def set_extra_state(self, state):
            pass

    assert len(fingerprint(network().to(torch.bfloat16))) == 64
    assert len(fingerprint(Extra(2, 2))) == 64


def test_a_teacher_has_that_of_its_network():
    snapshot = Snapshot()
    snapshot._frozen = Fixed(network())._frozen
    assert Fixed(network()).fingerprint() == snapshot.fingerprint() == fingerprint(network())
    with pytest.raises(RuntimeError, match="no network yet"):
        Ema().fingerprint()


def test_an_ensemble_has_one_of_its_own_by_members_order_and_mean():
    def made(seeds=(0, 1), **settings):
        return Ensemble([Fixed(network(seed)) for seed in seeds], **settings).fingerprint()

    def by_first(each):
        return each[..., 0]

    found = [
        made(),
        made((1, 0)),
        made((0, 2)),
        made((0, 1, 1)),
        made(weights=(1, 2)),
        made(mean="logits"),
        made(temperature=2.0),
        made(weights=by_first),
    ]
    assert len(set(found)) == len(found)
    assert made(weights=by_first) == found[-1]
    assert made() == found[0]
    assert made(weights=[1, 2]) == found[4]


def test_soft_labels_have_that_of_the_teacher_that_wrote_them(tmp_path):
    x = torch.randn(3, 2, 4, 4)
    labels = write_soft_labels(tmp_path / "one", network(), [x])
    assert labels.fingerprint() == fingerprint(network())
    write_soft_labels(tmp_path / "other", labels, [x], top_k=2)
    assert SoftLabels.read(tmp_path / "other", teacher=network()).about.top_k == 2

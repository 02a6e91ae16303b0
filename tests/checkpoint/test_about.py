"""The facts that tell one run from another."""

import json

import pytest
import torch
from torch import nn

from ckd import Engine, recipes
from ckd.checkpoint import describe
from ckd.checkpoint.about import about_engine, about_optimiser, check_every
from ckd.errors import ConfigError


@pytest.mark.parametrize("every", [-1, 1.0, "3", None])
def test_a_number_of_steps_is_whole_and_not_negative(every):
    with pytest.raises(ConfigError, match="steps between checkpoints"):
        check_every(every)


@pytest.mark.parametrize("every", [0, 1, 100])
def test_a_number_of_steps_is_given_back(every):
    assert check_every(every) == every


def test_an_optimiser_is_told_by_its_class_and_what_it_was_given():
    parameters = [nn.Parameter(torch.zeros(1))]
    found = about_optimiser(torch.optim.AdamW(parameters, lr=torch.tensor(0.5), betas=(0.8, 0.9), foreach=None))
    assert found["optimiser"] == "AdamW"
    given = found["hyper-parameters"]
    assert (given["lr"], given["betas"], given["foreach"], given["amsgrad"]) == (0.5, [0.8, 0.9], None, False)
    assert json.loads(json.dumps(found)) == found


def test_an_engine_is_told_by_its_terms_weights_and_memory():
    engine = Engine(recipes.der_plus_plus(memory_size=20, alpha=0.3, beta=0.7))
    found = about_engine(engine)
    assert (found["objective"], found["memory size"]) == (engine.objective.name, 20)
    assert sorted(found["terms and weights"].values()) == [0.3, 0.7]
    assert about_engine(Engine(recipes.lwf()))["memory size"] is None
    assert about_engine(None) == {"objective": None}


def test_a_weight_that_is_a_function_is_told_by_its_class():
    weights = about_engine(Engine(recipes.bic(memory_size=20)))["terms and weights"]
    assert set(weights.values()) == {"function", "partial"}


def test_networks_differ_by_class_names_and_shapes():
    networks = [nn.Linear(2, 3), nn.Linear(8, 1), nn.Linear(2, 3, bias=False), nn.Sequential(nn.Linear(2, 3))]
    assert len({describe(network) for network in networks}) == len(networks)
    assert describe(networks[0]) == describe(nn.Linear(2, 3))
    assert describe(networks[0]).startswith("Linear, 9 parameters, ")

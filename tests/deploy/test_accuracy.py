"""Accuracy of modules and files."""

import pytest
import torch
from sklearn.metrics import accuracy_score
from torch import nn

from ckd.deploy import accuracy_of, onnx_session
from ckd.errors import ConfigError, DataError


def test_module_file_and_session_are_as_accurate(digits, digits_file):
    wanted = accuracy_score(digits.y_test, digits.network(digits.x_test).argmax(1))
    for network in (digits.network, digits_file, str(digits_file), onnx_session(digits_file)):
        assert accuracy_of(network, digits.x_test, digits.y_test, batch_size=100) == wanted


def test_the_module_is_in_eval_mode_meanwhile_alone():
    model = nn.Sequential(nn.Dropout(0.99), nn.Identity().eval())
    assert accuracy_of(model, torch.eye(50), torch.arange(50)) == 1.0
    assert [module.training for module in model.modules()] == [True, True, False]


@pytest.mark.parametrize(("shape", "labels"), [((6, 5, 2, 3), (6, 2, 3)), ((6, 3, 5), (6, 3))])
def test_logits_with_more_axes(shape, labels):
    logits, y = torch.randn(shape), torch.randint(5, labels)
    predicted = logits.argmax(1 if len(shape) == 4 else 2)
    assert accuracy_of(nn.Identity(), logits, y, batch_size=4) == pytest.approx(
        accuracy_score(y.ravel(), predicted.ravel())
    )


def test_what_does_not_fit_is_refused(digits, digits_file):
    with pytest.raises(DataError, match="a label for each"):
        accuracy_of(digits.network, digits.x_test, digits.y_test[1:])
    with pytest.raises(ConfigError, match="at least 1"):
        accuracy_of(digits.network, digits.x_test[:0], digits.y_test[:0])
    for inputs in (digits.x_test[:, :, :5], digits.x_test.double(), (digits.x_test, digits.x_test)):
        with pytest.raises(DataError, match=r"input \['batch', 1, 8, 8\]"):
            accuracy_of(digits_file, inputs, digits.y_test)

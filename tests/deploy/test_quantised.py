"""Networks in 8-bit integers classify nearly as before; what does not fit is refused."""

import logging

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from ckd.deploy import accuracy_of, quantise_onnx
from ckd.errors import DataError, ModelError


@pytest.fixture
def conv_file(tmp_path):
    """conv_file(last) -> a network of a convolution, a linear layer and a last operator, written with onnx alone."""

    def make(last="Identity"):
        rng = np.random.default_rng(0)
        weights = {"kernel": rng.normal(size=(16, 1, 3, 3)), "matrix": rng.normal(size=(4, 16)), "bias": np.zeros(4)}
        nodes = [
            helper.make_node("Conv", ["input", "kernel"], ["c"]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "matrix", "bias"], ["g"], transB=1),
            helper.make_node(last, ["g"], ["logits"]),
        ]
        graph = helper.make_graph(
            nodes,
            "conv",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 8, 8])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
            [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.save(model, tmp_path / "conv.onnx")
        return tmp_path / "conv.onnx"

    return make


def dtypes(file):
    return {one.name: one.data_type for one in onnx.load(file).graph.initializer}


def test_without_convolutions_weights_are_integers_and_accuracy_stays(digits, digits_file, tmp_path, capfd):
    handlers = logging.root.handlers[:]
    agreement = quantise_onnx(digits_file, tmp_path / "small.onnx", digits.x_train[:256].split(64))
    assert logging.root.handlers == handlers
    assert capfd.readouterr() == ("", "")
    assert agreement > 0.97
    before, after = (accuracy_of(file, digits.x_test, digits.y_test) for file in (digits_file, tmp_path / "small.onnx"))
    assert before > 0.8
    assert after == pytest.approx(before, abs=0.02)
    assert (tmp_path / "small.onnx").stat().st_size < 0.4 * digits_file.stat().st_size
    assert [file.name for file in tmp_path.iterdir()] == ["small.onnx"]


def test_with_convolutions_activations_have_ranges_from_the_samples(conv_file, digits, tmp_path):
    file = conv_file()
    agreement = quantise_onnx(file, tmp_path / "small.onnx", digits.x_train[:200].split(50))
    model = onnx.load(tmp_path / "small.onnx")
    largest = {}  # what the 8 bits of the input stand for
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == "input":
            values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
            largest["input"] = 255 * float(values[node.input[1]])
    assert largest["input"] == pytest.approx(float(digits.x_train[:200].max()), rel=0.01)
    assert TensorProto.INT8 in dtypes(tmp_path / "small.onnx").values()
    same = _logits(file, digits.x_train[:200]).argmax(1) == _logits(
        tmp_path / "small.onnx", digits.x_train[:200]
    ).argmax(1)
    assert agreement == pytest.approx(same.mean())
    assert agreement > 0.9


def _logits(file, x):
    import onnxruntime

    return onnxruntime.InferenceSession(file).run(None, {"input": x.numpy()})[0]


@pytest.mark.parametrize("batches", [[], [torch.ones(2, 3, 8, 8)], [(torch.ones(2, 1, 8, 8), torch.ones(2))]])
def test_samples_that_do_not_fit_are_refused(batches, conv_file, tmp_path):
    with pytest.raises(DataError):
        quantise_onnx(conv_file(), tmp_path / "small.onnx", batches)
    assert not (tmp_path / "small.onnx").exists()


def test_logits_that_are_no_numbers_are_refused(conv_file, tmp_path):
    with pytest.raises(ModelError, match="finite logits"):
        quantise_onnx(conv_file("Log"), tmp_path / "small.onnx", [torch.ones(2, 1, 8, 8)])
    assert [file.name for file in tmp_path.iterdir()] == ["conv.onnx"]

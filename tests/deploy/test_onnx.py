"""ONNX files compute what the networks do, without torch; what cannot be exported is refused and leaves no file."""

import copy
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from ckd.deploy import export_onnx, onnx_session
from ckd.errors import ConfigError, DataError, ModelError
from ckd.networks import NETWORKS, network

pytestmark = pytest.mark.usefixtures("one_registry")

SHAPES = {
    "mlp": (7,),
    "small-mlp": (7,),
    "convnet": (1, 8, 8),
    **dict.fromkeys(("tiny-resnet", "small-resnet"), (1, 8, 8)),
}
TEXTS = ("text-pool", "text-attention", "text-transformer")
LIKE_OTHERS = {"resnet32x4", "mobilenet-v2", "xavier-mlp", "resnet18", "small-resnet", "wide-resnet"}
"""Of the blocks of others: an export takes many seconds, and finds nothing that theirs does not."""


def samples(name, n):
    """Inputs of a network: images, vectors, or ids of words with padding at the end."""
    if name in TEXTS:
        return torch.randint(1, 50, (n, 12)).mul_(torch.arange(12) < 9)
    return torch.randn(n, *SHAPES.get(name, (3, 32, 32)))


def run(file, *inputs):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})[0]


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in LIKE_OTHERS])
def test_every_network_computes_the_same_in_onnx_runtime(name, tmp_path, capfd):
    model = network(name, tuple(samples(name, 1).shape[1:]), 10, 50 if name in TEXTS else 0).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics as after training
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
        if isinstance(module, nn.ReLU6):  # torch.export takes 0.2 s for each one in place: the next test has one
            module.inplace = False
    before = copy.deepcopy(model.state_dict())
    export_onnx(model, samples(name, 1), tmp_path / "net.onnx")
    assert capfd.readouterr() == ("", "")
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    for n in (1, 5):
        x = samples(name, n)
        with torch.no_grad():
            np.testing.assert_allclose(run(tmp_path / "net.onnx", x), model.eval()(x), atol=1e-4)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]


def test_an_activation_in_place_computes_the_same(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU6(inplace=True), nn.Linear(4, 3))
    export_onnx(model, torch.randn(3, 4), tmp_path / "net.onnx")
    x = 10 * torch.randn(50, 4)
    with torch.no_grad():
        np.testing.assert_allclose(run(tmp_path / "net.onnx", x), model(x), atol=1e-4)


def test_a_transformer_takes_tokens_and_a_mask(reader, sentences, tmp_path):
    export_onnx(reader, sentences(3), tmp_path / "reader.onnx")
    ids, mask = sentences(4)
    names = [one.name for one in onnx.load(tmp_path / "reader.onnx").graph.input]
    assert names == ["input_ids", "mask"]
    with torch.no_grad():
        np.testing.assert_allclose(run(tmp_path / "reader.onnx", ids, mask), reader.eval()(ids, mask), atol=1e-4)


CLASSIFY = """
import sys
import numpy as np
import onnxruntime
data = np.load(sys.argv[2])
logits = onnxruntime.InferenceSession(sys.argv[1]).run(["logits"], {"input": data["x"]})[0]
assert not {"torch", "ckd"} & set(sys.modules)
print((logits.argmax(1) == data["y"]).sum())
"""


def test_a_fresh_process_classifies_without_torch_and_ckd(digits, digits_file, tmp_path):
    np.savez(tmp_path / "test.npz", x=digits.x_test, y=digits.y_test)
    command = [sys.executable, "-I", "-c", CLASSIFY, digits_file, tmp_path / "test.npz"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    right = int((digits.network(digits.x_test).argmax(1) == digits.y_test).sum())
    assert right > 0.8 * len(digits.y_test)
    assert int(found.stdout) == right


def test_the_file_names_no_path_of_this_machine(digits_file):
    written = digits_file.read_bytes()
    assert b".py" not in written
    assert b"stack_trace" not in written
    assert onnx.load(digits_file).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


class Calls(nn.Module):
    """A module that computes a function."""

    def __init__(self, function, dtype=torch.float32):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.ones(4, dtype=dtype))

    def forward(self, x):
        return self.function(x * self.weight)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: (x, x), "logits alone"),
        (lambda x: {"logits": x}, "logits alone"),
        (lambda x: x.sum(), "logits alone"),
        (lambda x: x[:1], "logits alone"),
        (lambda x: x.reshape(3, 4) * 1, "every batch size"),
        (lambda x: x if x.sum() > 0 else -x, "every batch size"),
        (torch.special.bessel_j0, "operators that ONNX has"),
    ],
)
def test_what_cannot_be_exported_is_refused(function, said, tmp_path, capfd):
    (tmp_path / "net.onnx").write_bytes(b"as before")
    with pytest.raises(ModelError, match=said):
        export_onnx(Calls(function), torch.randn(3, 4), tmp_path / "net.onnx")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"as before"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precision_is_refused(dtype, tmp_path):
    for model, example in ((Calls(abs, dtype), torch.ones(2, 4)), (Calls(abs), torch.ones(2, 4, dtype=dtype))):
        with pytest.raises(ConfigError, match=r"float32.*\.float\(\)"):
            export_onnx(model, example, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("example", [torch.ones(0, 4), torch.tensor(1.0), (), (torch.ones(2, 4), torch.ones(3)), [1.0]])
def test_an_example_without_samples_is_refused(example, tmp_path):
    with pytest.raises(ConfigError, match="batch axis"):
        export_onnx(Calls(abs), example, tmp_path / "net.onnx")


@pytest.mark.parametrize("change", [lambda w: w.add_(0.01), lambda w: w.fill_(torch.nan)])
def test_a_file_that_computes_something_else_is_refused(change, digits, digits_file, tmp_path, monkeypatch):
    made = SimpleNamespace(model_proto=onnx.load(digits_file))
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: made)
    other = copy.deepcopy(digits.network)
    change(other[-1].bias.data[:1])
    with pytest.raises(ModelError, match="apart"):
        export_onnx(other, digits.x_test[:2], tmp_path / "other.onnx")
    export_onnx(digits.network, digits.x_test[:2], tmp_path / "same.onnx", tolerance=0.1)
    assert [file.name for file in tmp_path.iterdir()] == ["same.onnx"]


@pytest.mark.parametrize("module", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra_it_says_how_to_get_it(module, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=r"pip install 'avalanche-ckd\[export\]'"):
        export_onnx(Calls(abs), torch.ones(2, 4), tmp_path / "net.onnx")


def test_an_onnxscript_that_is_too_old_is_named(monkeypatch, tmp_path):
    def export(*_, **__):
        raise ModuleNotFoundError("onnxscript.some_part")

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(ConfigError, match="--upgrade"):
        export_onnx(Calls(abs), torch.ones(2, 4), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "net.onnx"):
        with pytest.raises(DataError, match="a place to write to"):
            export_onnx(None, None, place)


def test_a_session_of_what_is_no_network(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"something else")
    for file in ("net.onnx", "none.onnx"):
        with pytest.raises(DataError, match="export_onnx"):
            onnx_session(tmp_path / file)


def test_a_session_has_as_many_threads_as_torch(digits_file):
    assert onnx_session(digits_file).get_session_options().intra_op_num_threads == torch.get_num_threads()

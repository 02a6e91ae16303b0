"""What a network costs where it is used, and how it gets there: weights, ONNX files, programs, 8-bit integers."""

from ckd.deploy.accuracy import accuracy_of
from ckd.deploy.cost import Cost, cost
from ckd.deploy.latency import latencies
from ckd.deploy.onnx import export_onnx
from ckd.deploy.program import export_program
from ckd.deploy.quantised import quantise_onnx
from ckd.deploy.session import onnx_session
from ckd.deploy.weights import load_network, network_facts, pack_network, save_network

__all__ = [
    "Cost",
    "accuracy_of",
    "cost",
    "export_onnx",
    "export_program",
    "latencies",
    "load_network",
    "network_facts",
    "onnx_session",
    "pack_network",
    "quantise_onnx",
    "save_network",
]

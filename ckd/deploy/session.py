"""Running ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ckd.deploy.extra import extra
from ckd.errors import DataError


def onnx_session(file: str | Path) -> Any:
    """An `onnxruntime.InferenceSession` of a file, on the CPU, with as many threads as torch uses now.

    Raises:
        ConfigError: the extra `export` is not installed.
        DataError: no such file, or one that ONNX Runtime cannot load.
    """
    runtime = extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what is wrong is raised
    try:
        return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a dozen kinds, none with a base of its own
        fix = "Export it again with ckd.deploy.export_onnx."
        raise DataError(f"file {file}", expected="a network as ONNX", received=error, fix=fix) from error

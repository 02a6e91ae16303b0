"""Run, store, compare."""

from ckd.bench.cluster import RayCluster
from ckd.bench.planning import plan
from ckd.bench.result import Result, load, save
from ckd.bench.search_space import Choice, Range, parse_search
from ckd.bench.spec import RunSpec
from ckd.bench.suite import run_suite
from ckd.bench.suite_file import Suite, load_suite
from ckd.bench.tables import table
from ckd.bench.training import run
from ckd.bench.tuning import tune

__all__ = [
    "Choice",
    "Range",
    "RayCluster",
    "Result",
    "RunSpec",
    "Suite",
    "load",
    "load_suite",
    "parse_search",
    "plan",
    "run",
    "run_suite",
    "save",
    "table",
    "tune",
]

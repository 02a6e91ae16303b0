"""Results into a page, tables and figures."""

from ckd.report.results import LeftOut, Results, Run, load_results
from ckd.report.write import write_report

__all__ = ["LeftOut", "Results", "Run", "load_results", "write_report"]

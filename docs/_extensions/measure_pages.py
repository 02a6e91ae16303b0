"""The table of measures, from `ckd.report.measures`, for the page about reading the numbers."""

from docutils import nodes
from docutils.statemachine import StringList
from rst import table
from sphinx.util.docutils import SphinxDirective

from ckd.report.measures import MEASURES

BETTER = {"higher": "higher is better", "lower": "lower is better", "zero": "0 is best", "": ""}


class Measures(SphinxDirective):
    """A list of all measures: title, formula, unit, source."""

    def run(self):
        """The nodes of the list."""
        rows = [("measure", "formula", "source")]
        for measure in MEASURES:
            told = ", ".join(filter(None, [measure.unit, BETTER[measure.better]]))
            rows.append((f"**{measure.title}** ({told})", measure.formula, measure.source or "—"))
        box = nodes.container()
        lines = table(rows, "measures", header=True, widths="22 44 34")
        self.state.nested_parse(StringList(lines, "measures"), 0, box)
        return box.children


def setup(app):
    """Add the directive."""
    app.add_directive("measures", Measures)
    return {"parallel_read_safe": True}

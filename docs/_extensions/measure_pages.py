"""The table of measures, from `ckd.report.measures`, for the page about reading the numbers."""

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from ckd.report.measures import MEASURES

BETTER = {"higher": "higher is better", "lower": "lower is better", "zero": "0 is best", "": ""}


class Measures(SphinxDirective):
    """A table of all measures: title, formula, unit, source."""

    def run(self):
        """The nodes of the table, which is written in Markdown as the page is."""
        lines = ["| measure | formula | source |", "| --- | --- | --- |"]
        for measure in MEASURES:
            told = ", ".join(filter(None, [measure.unit, BETTER[measure.better]]))
            cells = f"**{measure.title}** ({told})", _plain(measure.formula), measure.source or "—"
            lines.append(f"| {' | '.join(cells)} |")
        box = nodes.container()
        self.state.nested_parse(StringList(lines, "measures"), 0, box)
        return box.children


def _plain(formula):
    return formula.replace("*", r"\*").replace("|", r"\|")


def setup(app):
    """Add the directive."""
    app.add_directive("measures", Measures)
    return {"parallel_read_safe": True}

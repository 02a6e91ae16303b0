"""Pieces of reStructuredText for the pages that are written at build time."""


def heading(title, line):
    """A title underlined with `line`, and an empty line."""
    return [title, line * len(title), ""]


def table(rows, css, *, header=False, widths=""):
    """The lines of a list-table; the first of the rows is its header where there is one."""
    lines = [".. list-table::", f"   :class: {css}"]
    lines += ["   :header-rows: 1"] if header else []
    lines += [f"   :widths: {widths}"] if widths else []
    lines.append("")
    for first, *others in rows:
        lines += [f"   * - {first}", *(f"     - {cell}" for cell in others)]
    return [*lines, ""]


def code(language, lines):
    """The lines of a block of code."""
    return [f".. code-block:: {language}", "", *(f"   {line}" for line in lines), ""]


def write(file, lines):
    """Write the page, unless it is the same: what did not change is not read again."""
    text = "\n".join(lines)
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")

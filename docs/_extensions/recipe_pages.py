"""The gallery: a card and a page for each recipe, from the registry, its objective and benchmarks/results."""

import re
from pathlib import Path

import recipe_results
from recipe_formula import formula

from ckd.networks import network
from ckd.recipes import RECIPES

GALLERY = """Recipes
=======

Every method is a short sum of terms. Each page shows the sum, what the method stores, its hyper-parameters, its paper, and what
we measured. The pages are made from the registry, as is the output of ``ckd list``.

To learn one task after another
-------------------------------

{streams}

To distil one network into another
----------------------------------

{taught}

.. toctree::
   :hidden:

{pages}
"""
PAGE = """{title}

{description}

.. list-table::
   :class: facts
   :widths: 24 76

{facts}

The loss
--------

.. code-block:: text

{formula}

{legend}

{hyper}

{results}
{call}
"""
CARD = """   .. grid-item-card:: {name}
      :link: {slug}
      :link-type: doc

      {summary}

      .. card-footer::

         {footer}
"""


def slug(name):
    """The name of the page."""
    return name.replace("++", "-plus-plus")


def built(recipe):
    """An objective of the recipe, with some network as its teacher where it needs one."""
    if not recipe.teacher:
        return recipe.build()
    layers = {"layers": "10=10"} if "layers" in recipe.defaults else {}
    return recipe.build(network("small-resnet", (3, 32, 32), 10), **layers)


def _linked(paper):
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"`arXiv:\1 <https://arxiv.org/abs/\1>`__", paper)


def _escaped(text):
    return text.replace("*", "\\*").replace("`", "")


def _description(recipe):
    doc = (recipe.build.__doc__ or "").split("\n")
    return "\n".join([doc[0], *(line[4:] if line.startswith("    ") else line for line in doc[1:])]).strip()


def page(recipe, results):
    """One recipe as reStructuredText."""
    objective = built(recipe)
    function = f"ckd.recipes.{recipe.build.__name__}"
    facts = [("when to use it", recipe.use)]
    if not recipe.teacher:
        facts += [("it stores", recipe.stores), ("a step costs", f"{recipe.cost} (forward and backward passes of one mini-batch)")]
    facts += [("paper", _linked(recipe.paper)), ("in Python", f":py:func:`{function}`")]
    rows = "\n".join(f"   * - {what}\n     - {value}" for what, value in facts)
    sum_of, legend = formula(recipe, objective)
    hyper = "Hyper-parameters\n----------------\n\n" + _hyper(recipe) if recipe.defaults else ""
    measured = _measured(recipe, results)
    return PAGE.format(
        title=f"{recipe.name}\n{'=' * len(recipe.name)}",
        description=_description(recipe),
        facts=rows,
        formula="\n".join(f"   {line}" for line in sum_of),
        legend="\n".join(f"- {line}" for line in legend),
        hyper=hyper,
        results=measured,
        call=_call(recipe),
    )


def _hyper(recipe):
    said = ", ".join(f"``{name}={value!r}``" for name, value in recipe.defaults.items())
    return f"{said}.\n\nOn the command line ``--set NAME=VALUE`` changes one. Defaults are used unless a benchmark has values of its own."


def _measured(recipe, results):
    found = results.get(recipe.name, [])
    if not found:
        return "What we measured\n----------------\n\nThere is no measured result of this recipe yet.\n"
    lines = ["What we measured", "----------------", "", ".. list-table::", "   :header-rows: 1", "   :class: results", ""]
    lines += ["   * - data", "     - memory", "     - accuracy (%)", "     - forgetting", "     - published", "     - from"]
    for one in found:
        lines += [f"   * - {one.data}", f"     - {one.memory or '—'}", f"     - {one.accuracy}"]
        lines += [f"     - {one.forgetting or '—'}", f"     - {one.published or '—'}", f"     - {one.file}"]
    return "\n".join(lines) + "\n\nMean ± standard deviation over seeds; the files, in ``benchmarks/results``, say how many, by which command and on what machine.\n"


def _call(recipe):
    if recipe.teacher:
        command = f"ckd distil --recipe {recipe.name}"
        return f"Run it\n------\n\n.. code-block:: console\n\n   $ {command}\n"
    command = f"ckd run split-digits --recipe {recipe.name}"
    return f"Run it\n------\n\n.. code-block:: console\n\n   $ {command}\n"


def write(app):
    """Write the gallery beside the other pages."""
    folder = Path(app.srcdir) / "recipes"
    folder.mkdir(exist_ok=True)
    results = recipe_results.read(Path(app.srcdir).parent / "benchmarks" / "results")
    own = [r for r in RECIPES.values() if r.build.__module__.startswith("ckd.")]
    cards = {"streams": [], "taught": []}
    own.sort(key=lambda r: (bool(r.teacher), r.name))
    for recipe in own:
        _replace(folder / f"{slug(recipe.name)}.rst", page(recipe, results))
        best = next(iter(results.get(recipe.name, [])), None)
        footer = _escaped(recipe.use) + (f" · {best.short}: {best.accuracy}" if best else "")
        card = CARD.format(name=recipe.name, slug=slug(recipe.name), summary=_escaped(recipe.summary), footer=footer)
        cards["taught" if recipe.teacher else "streams"].append(card)
    grids = {kind: ".. grid:: 1 1 2 2\n   :gutter: 3\n\n" + "\n".join(found) for kind, found in cards.items()}
    pages = "\n".join(f"   {slug(r.name)}" for r in own)
    _replace(folder / "index.rst", GALLERY.format(pages=pages, **grids))


def _replace(file, text):
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def setup(app):
    """Write the gallery before the pages are read."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}

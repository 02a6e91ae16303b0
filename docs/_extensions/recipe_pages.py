"""The gallery: a card and a page for each recipe, from the registry, its objective and benchmarks/results."""

import inspect
import re
from pathlib import Path

import recipe_results
import rst
from recipe_formula import formula

from ckd.networks import network
from ckd.recipes import RECIPES

GALLERY = """Every method is a short sum of terms. Each page shows the sum, what the method stores, its
hyper-parameters, its paper, and what we measured. The pages are made from the registry, as is the output of
``ckd list``."""
SETTINGS = """On the command line ``--set NAME=VALUE`` changes one. Defaults are used unless a benchmark has values
of its own."""
SEEDS = """Mean ± standard deviation over seeds; the files, in ``benchmarks/results``, say how many, by which command
and on what machine."""


def slug(name):
    """The name of the page."""
    return name.replace("++", "-plus-plus")


def built(recipe):
    """An objective of the recipe, with some network as its teacher where it needs one."""
    if not recipe.teacher:
        return recipe.build()
    layers = {"layers": "10=10"} if "layers" in recipe.defaults else {}
    return recipe.build(network("small-resnet", (3, 32, 32), 10), **layers)


def page(recipe, results):
    """The lines of one recipe's page."""
    total, legend = formula(recipe, built(recipe))
    command = "ckd distil" if recipe.teacher else "ckd run split-digits"
    return [
        *rst.heading(recipe.name, "="),
        inspect.getdoc(recipe.build),
        "",
        *rst.table(_facts(recipe), "facts", widths="24 76"),
        *rst.heading("The loss", "-"),
        *rst.code("text", total),
        *(f"- {line}" for line in legend),
        "",
        *(_hyper_parameters(recipe) if recipe.defaults else []),
        *rst.heading("What we measured", "-"),
        *_measured(results),
        *rst.heading("Run it", "-"),
        *rst.code("console", [f"$ {command} --recipe {recipe.name}"]),
    ]


def _facts(recipe):
    yield "when to use it", recipe.use
    if not recipe.teacher:
        yield "it stores", recipe.stores
        yield "a step costs", f"{recipe.cost} (forward and backward passes of one mini-batch)"
    yield "paper", re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"`arXiv:\1 <https://arxiv.org/abs/\1>`__", recipe.paper)
    yield "in Python", f":py:func:`ckd.recipes.{recipe.build.__name__}`"


def _hyper_parameters(recipe):
    said = ", ".join(f"``{name}={value!r}``" for name, value in recipe.defaults.items())
    return [*rst.heading("Hyper-parameters", "-"), f"{said}.", "", SETTINGS, ""]


def _measured(results):
    if not results:
        return ["There is no measured result of this recipe yet.", ""]
    rows = [("data", "memory", "accuracy (%)", "forgetting", "published", "from")]
    for one in results:
        cells = (one.data, one.memory, one.accuracy, one.forgetting, one.published, one.file)
        rows.append([cell or "—" for cell in cells])
    return [*rst.table(rows, "results", header=True), SEEDS, ""]


def _card(recipe, results):
    measured = f" · {results[0].short}: {results[0].accuracy}" if results else ""
    lines = [f".. grid-item-card:: {recipe.name}", f"   :link: {slug(recipe.name)}", "   :link-type: doc", ""]
    lines += [f"   {recipe.summary}", "", "   .. card-footer::", "", f"      {recipe.use}{measured}", ""]
    return [f"   {line}" for line in lines]


def _grid(recipes, results):
    cards = (line for recipe in recipes for line in _card(recipe, results.get(recipe.name, [])))
    return [".. grid:: 1 1 2 2", "   :gutter: 3", "", *cards, ""]


def write(app):
    """Write the gallery beside the other pages."""
    folder = Path(app.srcdir) / "recipes"
    folder.mkdir(exist_ok=True)
    results = recipe_results.read(Path(app.srcdir).parent / "benchmarks" / "results")
    own = sorted((r for r in RECIPES.values() if r.build.__module__.startswith("ckd.")), key=lambda r: r.name)
    streams, taught = [r for r in own if not r.teacher], [r for r in own if r.teacher]
    for recipe in own:
        rst.write(folder / f"{slug(recipe.name)}.rst", page(recipe, results.get(recipe.name, [])))
    index = [*rst.heading("Recipes", "="), GALLERY, "", *rst.heading("To learn one task after another", "-")]
    index += [*_grid(streams, results), *rst.heading("To distil one network into another", "-")]
    index += [*_grid(taught, results), ".. toctree::", "   :hidden:", ""]
    rst.write(folder / "index.rst", [*index, *(f"   {slug(recipe.name)}" for recipe in [*streams, *taught]), ""])


def setup(app):
    """Write the gallery before the pages are read."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}

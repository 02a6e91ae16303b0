"""How the site is built: `make docs`, or `python -m sphinx -W --keep-going docs build/docs`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

import ckd  # noqa: E402

project = "ckd"
author = "The ckd authors"
copyright = "the ckd authors, MIT licence"
version = release = ckd.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "api_role",
    "measure_pages",
    "recipe_pages",
    "reference_pages",
]
exclude_patterns = ["pypi.md", "_extensions", "_static"]

html_theme = "furo"
html_title = "ckd"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_search_summary = False  # it would fetch pages, which browsers refuse from a folder
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#0b5d74", "color-brand-content": "#0b5d74"},
    "dark_css_variables": {"color-brand-primary": "#7fd0e6", "color-brand-content": "#7fd0e6"},
}
pygments_style = "friendly"
pygments_dark_style = "native"

nb_execution_mode = "off"  # outputs are those in the files: `make notebooks`
myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 3

default_role = "py:obj"
add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 76
python_use_unqualified_type_names = True
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_use_ivar = True
napoleon_use_rtype = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True


def setup(app):
    """A number and its deviation stay on one line."""
    app.connect("source-read", lambda app, name, text: text.__setitem__(0, text[0].replace(" ± ", "\u00a0±\u00a0")))

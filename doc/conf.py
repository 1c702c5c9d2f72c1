"""Sphinx settings of the site: ``python -m sphinx -W doc doc/_build/html``."""

import inspect
import os
import re
import sys
from pathlib import Path

from sphinx_gallery.sorting import ExplicitOrder

# Before torch loads: a gallery that runs beside other work is slowed by threads that wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parents[1]))

import skad

project = "skad"
author = "the skad developers"
copyright = "the skad developers, BSD-3-Clause"
version = release = skad.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "auto_examples/*.ipynb", "**/*.inc.rst"]
nitpicky = True
# Types of other libraries, whose own sites are not read: this one is built without a network.
OTHERS = "sklearn|torch|torchvision|numpy|scipy|matplotlib|joblib|collections|os|PIL|pathlib"
nitpick_ignore_regex = [(r"py:.*", rf"({OTHERS})\b.*")]
templates_path = ["_templates"]

autosummary_generate = True
toc_object_entries_show_parents = "hide"
smartquotes = False  # values of parameters are quoted as Python has them
default_role = "literal"  # names of parameters and methods in docstrings
autodoc_typehints = "none"  # the section "Parameters" says the same in words
numpydoc_show_class_members = False  # the template of the API pages lists them
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "skad"
html_static_path = ["_static"]
html_css_files = ["skad.css"]
html_show_sourcelink = False
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "header_links_before_dropdown": 7,
}
html_sidebars = {"index": [], "changes": [], "get_started": []}

EXAMPLES = (
    *("quickstart", "folder_to_csv", "solar_cells", "masks", "isolation_forest", "search"),
    *("conformal", "embeddings", "adaptation", "many_classes", "from_scratch", "export", "dask"),
)
sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["auto_examples"],
    "filename_pattern": r"plot_",
    "ignore_pattern": r"run_onnx",  # which takes arguments
    "within_subsection_order": ExplicitOrder([f"plot_{name}.py" for name in EXAMPLES]),
    "doc_module": ("skad",),
    "backreferences_dir": "api/backreferences",
    "reference_url": {"skad": None},
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 5,
    "remove_config_comments": True,
    "abort_on_example_error": True,
    "image_scrapers": ("matplotlib",),
}


def skip(app, what, name, member, is_skipped, options):
    """Leave out what other libraries define, which their own pages tell of."""
    function = getattr(member, "fget", None) or getattr(member, "fn", None) or member
    module = getattr(inspect.unwrap(function), "__module__", None) if callable(function) else None
    return True if module and module.split(".")[0] != "skad" else None


def name_attributes(app, what, name, member, options, lines):
    """Print the name of a property in "Attributes" like any other: it has no page of its own."""
    lines[:] = [re.sub(r"^(\s*):obj:`(\w+) <\.?\2>`", r"\1**\2**", line) for line in lines]


def setup(app):
    """Tell Sphinx of what is above."""
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", name_attributes, priority=900)  # after numpydoc

"""Settings of the documentation site, which ``make docs`` builds with Sphinx.

The sources are the repository's own Markdown files and notebooks, so that their links are valid on
GitHub and in the site. `pages` adds what only the site shows.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from pages import connect_pages  # noqa: E402

from rvlab.version import __version__  # noqa: E402

project = "rvlab"
author = "The rvlab authors"
version = release = __version__
html_title = "rvlab"

root_doc = "README"  # a copy of its page is index.html
include_patterns = [
    "*.md",
    "docker/README.md",
    "docs/*.md",
    "docs/decisions/*.md",
    "docs/gallery/README.md",
    "docs/site/**.md",
    "notebooks/*",
]
exclude_patterns = [
    ".*",
    "build",
    "demo",
    "dist",
    "node_modules",
    "rvlab",
    "tests",
    "notebooks/*.py",
]

extensions = [
    "myst_nb",
    "pydata_sphinx_theme",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]

# Markdown and notebooks. A dollar sign is a shell variable here, never a formula.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # the widgets' scripts come from a CDN; a saved widget is static HTML
nb_mime_priority_overrides = [("*", "application/vnd.jupyter.widget-view+json", None)]
copybutton_exclude = ".linenos, .gp, .go"

# The reference. `rvlab.Lab` completes its docstrings when it is imported, so it is imported here.
autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
add_module_names = False
default_role = "py:obj"  # a name in single backticks; one without a target is shown as code

html_theme = "pydata_sphinx_theme"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "rvlab"},
    "show_toc_level": 2,
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "navigation_with_keys": False,
    "show_prev_next": False,
    "footer_start": [],
    "footer_end": [],
    "secondary_sidebar_items": {"**": ["page-toc"], "docs/coming-from": []},
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {page: [] for page in ("README", "docs/gallery/README", "docs/coming-from")}


def setup(app) -> None:
    """Connect what only the site shows."""
    connect_pages(app)

"""Sphinx: `make docs`."""

from importlib.metadata import version as installed

project = "seal-store"
version = release = installed("seal-store")
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
exclude_patterns = ["_build", "demo"]
html_theme = "furo"
html_title = f"seal-store {release}"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = False

myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300

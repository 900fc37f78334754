"""Settings of Sphinx for the documentation's site (docs/decisions/0035)."""

from sphinx.application import Sphinx

import ssh_tf
from docs.tools.outside import ROOT

project = "ssh_tf"
version = release = ssh_tf.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
smartquotes_action = "D"  # dashes; quotes stay as they are typed

# Markdown: headings are addresses as on GitHub, so that one link serves both.
myst_heading_anchors = 4
myst_links_external_new_tab = False
myst_enable_extensions = ["html_image", "attrs_inline"]

# Docstrings: a word between back quotes is code, as in Markdown; types are in signatures.
default_role = "code"
autodoc_default_options = {"ignore-module-all": True, "exclude-members": "model_config"}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = f"ssh_tf {release}"
html_favicon = str(ROOT / "docs" / "pictures" / "favicon.svg")
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6bcb", "color-brand-content": "#0b6bcb"},
    "dark_css_variables": {"color-brand-primary": "#6cb2f5", "color-brand-content": "#6cb2f5"},
    "top_of_page_buttons": [],
}
html_static_path = ["static"]
html_css_files = ["site.css"]
# Enough contrast for small text in both.
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "github-dark"


def setup(app: Sphinx) -> None:
    """Connects what follows to Sphinx."""
    app.connect("autodoc-process-docstring", _keep_colons, priority=100)
    app.connect("autodoc-process-signature", _short_signature)


def _keep_colons(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Keeps Napoleon from reading words before a colon as a type: types are in signatures.

    A colon in front of them says that no type is there.
    """
    del app, name, thing, options
    starts = [i + 1 for i, line in enumerate(lines) if line.strip() in ("Returns:", "Yields:")]
    for i in [0, *starts] if what == "attribute" else starts:
        text = lines[i].lstrip()
        lines[i] = f"{lines[i][: len(lines[i]) - len(text)]}: {text}"


def _short_signature(
    app: Sphinx, what: str, name: str, thing: object, options: object, *signature: object
) -> tuple[str, None] | None:
    """Leaves out the arguments of settings: they are the fields that follow."""
    del app, name, options, signature
    return ("", None) if what == "class" and hasattr(thing, "model_fields") else None

"""How Sphinx makes the site of README.md, docs/ and notebooks/: `make site`. Neither it nor readers need a network.

The folder of sources is the checkout, so links between pages hold on the site as they do on GitHub. Notebooks are not
run: the site shows the outputs that they are stored with.
"""

import re
import shutil
from importlib.resources import files
from pathlib import Path
from textwrap import indent

from docutils import nodes

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "notebooks")  # what the site is made of, beside README.md
CONTENTS = {
    "Start": ["docs/browser"],
    "Notebooks": ["notebooks/*"],
    "Use": ["docs/data", "docs/lists", "docs/training", "docs/own_videos", "docs/predict", "docs/checkpoints"],
    "Results": ["docs/results", "docs/speed", "docs/recipes", "docs/differences"],
    "Build on it": ["docs/tam_elsewhere", "docs/export", "docs/sharing", "docs/machines"],
    "Code": ["docs/api", "docs/architecture", "CONTRIBUTING", "CHANGELOG"],
    "Solutions of the exercises": ["notebooks/solutions/*"],
}

SHORT, LONG = 16, 50  # letters of a cell of a table, or of `code`

project = "TANet"
author = "the authors of this package"
root_doc = "README"
exclude_patterns = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in FOLDERS]
exclude_patterns.append("**/.*")
include_patterns = ["*.md", "docs/**", "notebooks/**.ipynb"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show = "set-up: show the {type}"  # of cells with the tag hide-input
nb_code_prompt_hide = "set-up: hide the {type}"
myst_enable_extensions = ["dollarmath"]
suppress_warnings = ["myst.header"]  # a notebook may go from its title to a smaller heading
myst_heading_anchors = 4  # the anchors that GitHub gives to headings
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
highlight_language = "none"  # blocks without a language are commands of a shell
default_role = "code"  # docstrings write `name`

html_theme = "furo"
html_title = "TANet"
# MathJax in one file: it draws formulas as SVG, so browsers need neither fonts nor a server.
MATHJAX = files("sphinx-mathjax-offline") / "static" / "mathjax" / "tex-svg-full.js"
html_static_path = ["site.css", str(MATHJAX)]
html_favicon = "favicon.svg"
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
mathjax_path = MATHJAX.name


def add_contents(app, name: str, source: list[str]) -> None:
    """The menu, by which the theme lists the pages."""
    if name == root_doc:
        for caption, pages in CONTENTS.items():
            source[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n{chr(10).join(pages)}\n```\n"


def mark_lengths(app, document) -> None:
    """Classes for site.css, where short cells and code (a date, an option) stay whole and long cells are not narrow."""
    for node in document.findall(lambda node: isinstance(node, nodes.entry | nodes.literal)):
        length = len(node.astext())
        if length <= SHORT:
            node["classes"].append("short")
        elif length >= LONG:
            node["classes"].append("long")


def keep_as_written(app, kind, name, described, options, lines: list[str]) -> None:
    """Docstrings are plain text: columns and indented lines stay as they are, and a star is a star."""
    paragraphs = "\n".join(lines).split("\n\n")
    for index, text in enumerate(paragraphs):
        if re.match(r"\s+\S|\S.*?\S  +\S", text):
            paragraphs[index] = "::\n\n" + indent(text, "    ")
        else:
            paragraphs[index] = re.sub(r"(`[^`]*`)|\*", lambda found: found[1] or r"\*", text)
    lines[:] = "\n\n".join(paragraphs).split("\n")


def copy_home(app, error: Exception | None) -> None:
    """To where servers and browsers look for it."""
    if error is None and app.builder.format == "html":
        shutil.copy(app.outdir / "README.html", app.outdir / "index.html")


def setup(app) -> None:
    app.connect("source-read", add_contents)
    app.connect("doctree-read", mark_lengths)
    app.connect("autodoc-process-docstring", keep_as_written)
    app.connect("build-finished", copy_home)

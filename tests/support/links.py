"""Links between the pages of the checkout, as GitHub follows them, and between those of a site, as a browser does."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

from support.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "notebooks").rglob("*.ipynb")])


def text_of(path: Path) -> str:
    """The Markdown of a page, or of a notebook's cells, without its blocks of code."""
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    return re.sub(r"^\s*```.*?^\s*```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors_of(path: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text_of(path), re.MULTILINE)
    titles = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def dead_links(path: Path) -> list[str]:
    """The relative links and pictures of a page that lead to no file, or to no heading of a page."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text_of(path))):
        if re.match(r"\w+:", link):  # http:, mailto:
            continue
        name, anchor = urldefrag(link)
        target = (path.parent / unquote(name)).resolve() if name else path
        readable = target.suffix in (".md", ".ipynb")
        if not target.exists() or (anchor and readable and anchor not in anchors_of(target)):
            dead.append(f"{path.relative_to(ROOT)}: {link}")
    return dead


class _Page(HTMLParser):
    """What an HTML page links to, and the names that links to it can have."""

    def __init__(self, text: str):
        super().__init__()
        self.links, self.names = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.names |= {values[key] for key in ("id", "name") if values.get(key)}
        self.links += [values[key] for key in ("href", "src") if values.get(key)]


def dead_links_of_site(site: Path) -> Iterator[str]:
    """The links of every page of a built site that lead to no file of it, or to no name on a page."""
    pages = {path: _Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            if re.match(r"\w+:|//", link):
                continue
            name, anchor = urldefrag(link)
            target = (path.parent / unquote(name.partition("?")[0])).resolve() if name else path
            named = anchor and target in pages and unquote(anchor) not in pages[target].names
            if not target.is_file() or named:
                yield f"{path.relative_to(site)}: {link}"

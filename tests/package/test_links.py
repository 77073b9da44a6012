"""Readers come from one page to the next: links, the reading order, and a README that fits on a screen."""

import re
import runpy

import pytest
from PIL import Image
from support import links
from support.paths import ROOT

README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", links.PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(path):
    assert not links.dead_links(path)


@pytest.mark.parametrize(
    "link, dead", [("data.md", False), ("gone.md", True), ("data.md#kinetics-400", False), ("data.md#gone", True)]
)
def test_a_dead_link_is_found(link, dead, tmp_path, monkeypatch):
    monkeypatch.setattr(links, "ROOT", tmp_path)
    (tmp_path / "data.md").write_text("# Data\n\n## Kinetics-400\n")
    page = tmp_path / "page.md"
    page.write_text(f"See [the data]({link}), not `a[0](gone)`.\n\n```\n[code](gone.md)\n```\n")
    assert bool(links.dead_links(page)) is dead


def test_the_reading_order_lists_every_notebook_once_in_order():
    section = README.partition("## Reading order")[2].partition("\n## ")[0]
    listed = re.findall(r"^- \[(\d+)\. .+\]\(notebooks/(\w+)\.ipynb\): \S", section, re.MULTILINE)
    assert [name for _, name in listed] == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert all(int(number) == int(name[:2]) for number, name in listed)


def test_every_page_of_docs_can_be_reached_from_the_readme():
    """Over one other page at most."""
    pages = {path: set(re.findall(r"\]\(([\w./]+\.md)[)#]", path.read_text())) for path in ROOT.glob("docs/*.md")}
    direct = set(re.findall(r"\]\(docs/([\w.]+\.md)[)#]", README))
    near = direct | {link for path, found in pages.items() if path.name in direct for link in found}
    assert {path.name for path in pages} <= near


def test_the_readme_is_short():
    assert len(README.split()) <= 900


def test_the_picture_of_the_readme_moves_and_is_small():
    (picture,) = re.findall(r"^!\[.+\]\(([\w/.]+)\)$", README, re.MULTILINE)
    assert Image.open(ROOT / picture).n_frames == 8
    assert (ROOT / picture).stat().st_size < 1_000_000


def test_the_page_for_a_browser_shows_what_make_links_prints():
    made = runpy.run_path(str(ROOT / "docs/cloud.py"))
    page = (ROOT / "docs/browser.md").read_text()
    shown = [*made["links"]("OWNER/NAME").values(), made["colab_cell"]("https://github.com/OWNER/NAME")]
    assert all(f"```text\n{text}\n```" in page for text in shown)

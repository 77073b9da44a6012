"""The site that `make site` makes: the same bytes each time, without a dead link, and as a browser shows it."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType

import pytest
from support import links
from support.paths import ROOT

NEEDED = ("sphinx", "myst_nb", "furo", "sphinx-mathjax-offline")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not all(map(find_spec, NEEDED)), reason="no packages of the site here: make site installs them"),
]
# What a page has got wrong, as the page itself sees it.
PROBLEMS = """() => [
  ...[...document.images].filter(image => !image.naturalWidth).map(image => `no picture: ${image.src}`),
  ...[...document.querySelectorAll(".math")].filter(math => !math.querySelector("mjx-container > svg"))
    .map(math => `no formula: ${math.textContent}`),
  ...[...document.querySelectorAll("[data-mml-node=merror]")].map(error => `a broken formula: ${error.textContent}`),
  ...(document.documentElement.scrollWidth > window.innerWidth ? ["wider than the screen"] : []),
]"""


@pytest.fixture(scope="module")
def sites(tmp_path_factory) -> list[Path]:
    """Two, built at the same time by Pythons with other hashes and in other time zones; no proxy answers them."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "other")]
    builds = []
    for folder, seed, zone in zip(folders, ("1", "2"), ("UTC", "Asia/Tokyo")):
        command = [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "--keep-going",
            "-c",
            ROOT / "docs",
            ROOT,
            folder / "html",
        ]
        environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "http_proxy": "http://127.0.0.1:9"}
        output = open(folder / "said.txt", "w")
        builds.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT))
    for build, folder in zip(builds, folders):
        assert build.wait() == 0, (folder / "said.txt").read_text()
    return [folder / "html" for folder in folders]


def files_of(site: Path) -> dict[str, bytes]:
    """Without .doctrees, which `make site` puts elsewhere."""
    paths = [path for path in site.rglob("*") if path.is_file() and ".doctrees" not in path.parts]
    return {path.relative_to(site).as_posix(): path.read_bytes() for path in paths}


def test_two_builds_have_the_same_bytes(sites):
    one, other = map(files_of, sites)
    assert one.keys() == other.keys()
    assert not [name for name in one if one[name] != other[name]]


def test_no_link_of_the_site_is_dead(sites):
    assert not list(links.dead_links_of_site(sites[0]))


def test_every_page_and_notebook_is_there_and_in_the_menu(sites):
    menu = (sites[0] / "index.html").read_text().partition('class="sidebar-tree"')[2].partition("</div>")[0]
    for path in [*ROOT.glob("docs/*.md"), *ROOT.glob("notebooks/*.ipynb")]:
        assert f'href="{path.relative_to(ROOT).with_suffix(".html").as_posix()}"' in menu


def test_every_public_function_and_class_is_in_the_reference(sites):
    names = set(re.findall(r'id="([\w.-]+)"', (sites[0] / "docs/api.html").read_text()))
    for path in (ROOT / "tanet").iterdir():
        if path.stem.startswith("_") or not (path.suffix == ".py" or (path / "__init__.py").exists()):
            continue
        wing = importlib.import_module(f"tanet.{path.stem}")
        exported = [getattr(wing, name) for name in getattr(wing, "__all__", ())]
        named = [item for item in exported if isinstance(item, type | FunctionType)]
        own = [item for item in named if item.__module__.startswith(wing.__name__)]
        assert {f"module-{wing.__name__}", *(f"{wing.__name__}.{item.__name__}" for item in own)} <= names


def test_no_page_needs_another_server(sites):
    for path in sites[0].rglob("*.html"):
        assert not re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//', path.read_text()), path


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt install chromium")
def test_a_browser_shows_every_page_on_a_screen_and_on_a_phone(sites):
    """From the disk, so that nothing but the files themselves can be what it shows."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'tanet[test]'")
    problems = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(f"not loaded: {request.url}"))
        for path in [path for path in sorted(sites[0].rglob("*.html")) if "_modules" not in path.parts]:
            page.set_viewport_size({"width": 1280, "height": 900})
            page.goto(path.as_uri())
            page.evaluate("window.MathJax?.startup?.promise")
            for width in (1280, 400):
                page.set_viewport_size({"width": width, "height": 900})
                found = page.evaluate(PROBLEMS)
                problems += [f"{path.relative_to(sites[0])} at {width}: {problem}" for problem in found]
        browser.close()
    assert not problems, "\n".join(problems)

"""Notebook 11 as a reader uses it: in JupyterLab, in a browser. Nothing waits for a time, all for what must appear."""

import json
import os
import shutil
import socket
import sys
from fractions import Fraction

import nbformat
import numpy as np
import pytest
from support.children import start_command, wait_until
from support.paths import ROOT

from tanet import demo

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LIMIT = 600_000  # milliseconds: nothing takes that long, also on a busy machine, unless it hangs
# Settings that ask nothing, fetch nothing, and keep all cells in the page.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
MIRROR = {one: other for pair in demo.SOMETHING_PAIRS for one, other in (pair[:2], pair[1::-1])}
PICTURE = "async image => Array.from(new Uint8Array(await (await fetch(image.src)).arrayBuffer())).join()"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt install chromium"),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'tanet[test]'")
pytest.importorskip("ipywidgets", reason="ipywidgets is not installed: pip install 'tanet[notebooks]'")


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab of its own, whose folder holds notebook 11 without outputs."""
    for name, values in SETTINGS.items():
        path = tmp_path / "settings/@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.read(ROOT / "notebooks/11_explore.ipynb", 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, tmp_path / "notebooks/11_explore.ipynb")
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime", "JUPYTERLAB_SETTINGS_DIR": "settings"}
    folders |= {"JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython"}
    environment = {name: str(tmp_path / folder) for name, folder in folders.items()}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]  # if somebody else takes it meanwhile, the server takes another one and says so
    options = [f"--ServerApp.root_dir={tmp_path / 'notebooks'}", f"--port={port}", "--ip=127.0.0.1", "--no-browser"]
    options += ["--allow-root", "--IdentityProvider.token="]
    with open(tmp_path / "server.txt", "w") as said:
        server = start_command(
            [sys.executable, "-m", "jupyterlab", *options], env=os.environ | environment, stderr=said
        )
        try:
            started = tmp_path / "runtime" / f"jpserver-{server.pid}.json"
            wait_until(lambda: started.exists() or server.poll() is not None)
            assert server.poll() is None, (tmp_path / "server.txt").read_text()
            yield json.loads(started.read_text())["url"]
        finally:
            server.terminate()  # it ends its kernels, too
            server.wait(timeout=LIMIT / 1000)


@pytest.fixture
def page(lab):
    """The notebook in a browser. What went wrong in the page is in `page.problems`."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.set_default_timeout(LIMIT)
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda said: page.problems.append(said.text) if is_error(said) else None)
        page.goto(f"{lab}lab/tree/11_explore.ipynb")
        yield page
        browser.close()


def is_error(said) -> bool:
    """JupyterLab asks at each start for a language server, which is not installed."""
    return said.type == "error" and "/lsp/status" not in said.location["url"]


def handle_of(page, slider):
    return page.locator(f'.widget-hslider:has(label:text-is("{slider}")) .noUi-handle')


def picture(page, panel):
    return page.locator(f"img.tanet-{panel}").evaluate(PICTURE)


def wait_for_another(page, panel, before):
    """The picture of a panel, once it is another one than `before`, and nothing is computed any more."""
    wait_until(lambda: picture(page, panel) != before)
    sync_api.expect(page.locator(".tanet-message")).to_have_text("")
    return picture(page, panel)


def named(page):
    return page.locator(".tanet-named b").inner_text()


def shot(page, name):
    """For people who want to look: a picture of the page in the folder SCREENSHOTS."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.locator("img.tanet-frames").scroll_into_view_if_needed()
        page.screenshot(path=f"{folder}/{name}.png")


def test_sliders_and_buttons_change_what_is_shown(page, tmp_path):
    expect = sync_api.expect
    expect.set_options(timeout=LIMIT)
    expect(page.locator(".jp-StatusBar-Widget")).to_contain_text("(ipykernel) | Idle")  # without a kernel nothing runs
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    expect(page.get_by_text("all claims hold", exact=True)).to_be_visible()  # printed by the last cell
    shot(page, "before")

    original, maps = picture(page, "frames"), picture(page, "maps")
    handle = handle_of(page, "stage")
    handle.focus()
    handle.press("ArrowRight")
    expect(page.locator(".widget-hslider", has_text="stage")).to_contain_text("layer2.0")
    maps = wait_for_another(page, "maps", maps)
    assert picture(page, "frames") == original
    shot(page, "slider")

    before = named(page)
    page.get_by_role("button", name="reverse").click()
    expect(page.locator(".tanet-named")).to_contain_text("reversed: ")
    assert named(page) == MIRROR[before]
    wait_for_another(page, "frames", original)
    wait_for_another(page, "maps", maps)
    shot(page, "button")

    rng = np.random.default_rng(0)
    demo.write_video(tmp_path / "mine.mp4", demo.draw_clip("y", False, 40, (96, 72), rng), Fraction(25))
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="your video").click()
    chooser.value.set_files(tmp_path / "mine.mp4")
    expect(page.locator(".tanet-named")).to_contain_text("as it is: ")
    sync_api.expect(page.locator(".tanet-message")).to_have_text("")  # also no error
    assert page.locator(".widget-dropdown select").input_value() == "mine.mp4"
    shot(page, "upload")

    assert not page.locator('[data-mime-type="application/vnd.jupyter.error"]').count()
    assert not page.problems

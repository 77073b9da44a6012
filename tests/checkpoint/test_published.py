import dataclasses
import hashlib
import re
import socket

import pytest
import torch
from support.fileserver import Page, serve

from tanet import checkpoint, recipes
from tanet.checkpoint import PUBLISHED_FILES, from_ours, published, published_files_table
from tanet.errors import CheckpointError, DownloadError
from tanet.model import build

NAME = "mmaction2-sthv1-8f"


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A file of MMAction2's layout, as published."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("published") / "file.pth"
    recipe = recipes.demo_something()
    torch.save({"state_dict": from_ours(build(recipe).state_dict(), "mmaction2")}, path)
    return path.read_bytes()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub/checkpoints"


@pytest.fixture
def table(monkeypatch, content):
    """Makes the name NAME stand for the content, at another address."""

    def place(folder):
        digits = hashlib.sha256(content).hexdigest()[:8]
        file = dataclasses.replace(
            PUBLISHED_FILES[NAME], folder=folder, file=f"tanet_20210630-{digits}.pth", recipe="demo_something"
        )
        monkeypatch.setitem(published.PUBLISHED_FILES, NAME, file)
        return file

    return place


def test_a_name_is_downloaded_once_and_brings_its_recipe(cache, table, content, capfd, monkeypatch):
    monkeypatch.setattr("tanet.runtime.progress.LINE_EVERY", -1)
    monkeypatch.setattr(published, "MIB", len(content) // 3)
    pages = {f"tanet_20210630-{hashlib.sha256(content).hexdigest()[:8]}.pth": Page(content)}
    with serve(pages) as (address, _):
        file = table(address)
        stored = checkpoint.read(NAME)
        assert (cache / file.file).read_bytes() == content
        assert stored.path == cache / file.file and stored.recipe == recipes.demo_something()
        assert checkpoint.load_model(NAME)[1].name == "demo_something"
    assert [method for method, _ in pages[file.file].requests] == ["GET"]
    captured = capfd.readouterr()
    assert f"{file.file}, MiB: 1 of" in captured.err and not captured.out
    assert [path.name for path in cache.iterdir()] == [file.file]


@pytest.mark.parametrize(
    "page, reason",
    [
        (lambda content: Page(content[:-1] + b"x"), "SHA-256 that begins with"),
        (lambda content: Page(content, cuts=[1000]), "1000"),
        (lambda content: Page(content, refusals=[503]), "503"),
        (lambda content: Page(content, stalls=[1000]), "timed out"),
    ],
)
def test_a_download_that_fails_leaves_nothing_and_says_what_to_put_where(
    cache, table, content, monkeypatch, page, reason
):
    monkeypatch.setattr(published, "SECONDS", 0.2)
    digits = hashlib.sha256(content).hexdigest()[:8]
    with serve({f"tanet_20210630-{digits}.pth": page(content)}) as (address, _):
        file = table(address)
        with pytest.raises(DownloadError) as failure:
            checkpoint.read(NAME)
    said = str(failure.value)
    assert said.startswith(f"{NAME}: ") and reason in said and "\n" not in said
    assert said.endswith(f"put it into {cache}") and file.url in said
    assert not list(cache.iterdir())


def test_without_a_network_one_line_says_what_to_do(cache, table):
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        file = table(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(DownloadError, match=f"^{NAME}: not in the cache, and {file.url} cannot be downloaded"):
            checkpoint.read(NAME)


def test_a_file_put_there_by_hand_is_used_if_it_is_whole(cache, table, content):
    file = table("http://127.0.0.1:1/nowhere")
    cache.mkdir(parents=True)
    (cache / file.file).write_bytes(content)
    assert checkpoint.read(NAME).layout == "mmaction2"
    (cache / file.file).write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match=rf"{file.file}: is damaged or another file, .*remove it"):
        checkpoint.read(NAME)


def test_paths_are_no_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match="mmaction2-k600: no such file, nor a published one .*mmaction2-k400-8f"
    ):
        checkpoint.read("mmaction2-k600")
    with pytest.raises(FileNotFoundError, match="^mmaction2-k600.pth: no such checkpoint"):
        checkpoint.read("mmaction2-k600.pth")
    (tmp_path / NAME).write_bytes(b"")
    with pytest.raises(CheckpointError, match=f"^{NAME}: empty"):  # a file of that name is meant itself
        checkpoint.read(NAME)


def test_the_table_is_whole():
    """Every address is MMAction2's, ends in its digest, and names the kind of network that the recipe has."""
    assert len({file.url for file in PUBLISHED_FILES.values()}) == len(PUBLISHED_FILES) == 6
    for name, file in PUBLISHED_FILES.items():
        assert re.fullmatch(r"https://download\.openmmlab\.com/mmaction/\S+/(\S+)/\1_\d{8}-[0-9a-f]{8}\.pth", file.url)
        assert file.url.endswith(f"-{file.digits}.pth") and name in published_files_table()
        recipe = recipes.get(file.recipe)
        assert f"1x1x{recipe.num_frames}" in file.file and name.endswith(f"-{recipe.num_frames}f")
        assert {"kinetics": "kinetics400", "something_v1": "sthv1"}[recipe.dataset] in file.file


def test_the_addresses_are_those_that_the_notebook_names():
    from support.paths import ROOT

    notebook = (ROOT / "notebooks/07_from_published_checkpoints.ipynb").read_text()
    named = set(re.findall(r"https://download\.openmmlab\.com/\S+?\.pth", notebook))
    assert named and named <= {file.url for file in PUBLISHED_FILES.values()}

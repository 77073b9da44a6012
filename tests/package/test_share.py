import json
import re
import shutil
import sys

import pytest
import torch

from tanet import checkpoint, cli, evaluate, load_model
from tanet.errors import CheckpointError, DownloadError
from tanet.runtime import sha256
from tanet.share import from_pretrained, pack, push_to_hub

pytestmark = pytest.mark.slow  # packs a trained run


@pytest.fixture(scope="module")
def tested_run(tmp_path_factory, trained_run, something_root):
    """A finished run, tested by one protocol; another protocol tested another checkpoint."""
    run_dir = tmp_path_factory.mktemp("runs") / "tested"
    shutil.copytree(trained_run, run_dir)
    evaluate.run(
        run_dir / "checkpoints/last.pth", something_root, "sth-efficient", run_dir / "result-sth-efficient.json"
    )
    own = json.loads((run_dir / "result-sth-efficient.json").read_text())
    (run_dir / "result.json").write_text(json.dumps(own))  # of the same protocol, in another file
    other = own | {"sha256": "0" * 64}
    (run_dir / "result-sth-accurate.json").write_text(json.dumps(other))
    return run_dir


@pytest.fixture(scope="module")
def packed(tmp_path_factory, tested_run):
    folder = tmp_path_factory.mktemp("shared") / "demo"
    return folder, pack(tested_run, folder)


def test_the_folder_holds_what_belongs_to_the_checkpoint_and_no_more(packed, tested_run):
    folder, report = packed
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "metrics.jsonl",
        "model.safetensors",
        "recipe.json",
        "result-sth-efficient.md",
        "result.md",
    ]
    assert (folder / "metrics.jsonl").read_bytes() == (tested_run / "metrics.jsonl").read_bytes()
    assert (folder / "recipe.json").read_text() == (tested_run / "recipe.json").read_text()
    assert report[1:] == [
        f"{tested_run}/result-sth-accurate.json: left out, it tested another checkpoint than last.pth"
    ]
    assert not list(folder.parent.glob(".*"))


def test_the_packed_weights_are_the_runs_own_and_give_the_same_scores(packed, tested_run, something_root):
    folder, _ = packed
    one, other = (checkpoint.read(path) for path in (tested_run / "checkpoints/last.pth", folder / "model.safetensors"))
    assert all(torch.equal(one.weights[key], other.weights[key]) for key in one.weights)
    assert (one.recipe, one.class_names) == (other.recipe, other.class_names)
    again = evaluate.run(folder / "model.safetensors", something_root, "sth-efficient")
    before = json.loads((tested_run / "result-sth-efficient.json").read_text())
    assert again["per_video"] == before["per_video"]


def test_the_card_reports_the_measurements_and_the_training(packed, tested_run, something_recipe):
    folder, _ = packed
    card = (folder / "README.md").read_text()
    result = json.loads((tested_run / "result-sth-efficient.json").read_text())
    last = json.loads((tested_run / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"| measured here | {result['top1']:.2f} (" in card and "16 of 16" in card and "sth-accurate" not in card
    assert f"validation top-1 {last['val_top1']:.2f}%" in card and "32 training and 16 validation videos" in card
    assert "epochs = 2 (recipe: 8)" in card and "2 of 2 epochs" in card
    assert sha256(folder / "model.safetensors") in card and result["sha256"][:16] in card


def test_the_python_code_of_the_card_runs(packed, monkeypatch):
    folder, _ = packed
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(folder)
    names = {}
    exec(code, names)
    clips = torch.zeros(2, names["recipe"].num_frames, 3, 48, 48, dtype=torch.uint8)
    assert torch.equal(names["model"](clips), load_model(folder / "model.safetensors")[0](clips))
    assert len(names["class_names"]) == 8


def test_the_card_of_an_untested_run_says_so(tmp_path, trained_run):
    report = pack(trained_run, tmp_path / "shared", which="best")
    assert report == [f"{tmp_path}/shared: 0 result(s); the card says that it was not tested"]
    assert "Not run" in (tmp_path / "shared/README.md").read_text()


def test_an_existing_folder_is_left_as_it_is(tmp_path, trained_run):
    with pytest.raises(FileExistsError, match=f"{tmp_path} is there already"):
        pack(trained_run, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_run_leaves_nothing_behind(tmp_path, trained_run):
    with pytest.raises(FileNotFoundError, match="checkpoints/last.pth"):
        pack(tmp_path, tmp_path / "shared")
    shutil.copytree(trained_run, tmp_path / "run")
    (tmp_path / "run/checkpoints/last.pth").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="last.pth"):
        pack(tmp_path / "run", tmp_path / "shared")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_command_prints_its_report_or_its_error(tmp_path, trained_run, capsys):
    cli.main(["checkpoint", "pack", str(trained_run), str(tmp_path / "shared")])
    assert capsys.readouterr().out.startswith(f"{tmp_path}/shared: 0 result(s)")
    with pytest.raises(SystemExit) as ended:
        cli.main(["checkpoint", "pack", str(trained_run), str(tmp_path / "shared")])
    assert ended.value.code == 1 and "is there already" in capsys.readouterr().err


class LocalHub:
    """In the place of HfApi: puts what is uploaded where huggingface_hub keeps what it has downloaded."""

    def __init__(self, cache):
        self.cache, self.private = cache, None

    def create_repo(self, repo_id, private, exist_ok):
        assert exist_ok
        self.private = private

    def upload_folder(self, repo_id, folder_path, revision="main"):
        model = self.cache / f"models--{repo_id.replace('/', '--')}"
        commit = "0123456789abcdef0123456789abcdef01234567"
        shutil.copytree(folder_path, model / "snapshots" / commit)
        (model / "refs").mkdir()
        (model / "refs" / revision).write_text(commit)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    huggingface_hub = pytest.importorskip(
        "huggingface_hub", reason="huggingface_hub is not installed: pip install 'tanet[hub]'"
    )
    hub = LocalHub(tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    return hub


def assert_same_network(found, weights):
    model, recipe, names = found
    own = load_model(weights)
    assert (recipe, names) == own[1:] and not model.training
    state = own[0].state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_packed_folder_is_read_without_the_hub(packed):
    folder, _ = packed
    assert_same_network(from_pretrained(folder), folder / "model.safetensors")


def test_a_model_goes_to_the_hub_and_comes_back(packed, hub):
    folder, _ = packed
    assert push_to_hub(folder, "somebody/tanet-demo") == "https://huggingface.co/somebody/tanet-demo"
    assert hub.private
    found = from_pretrained("somebody/tanet-demo", cache_dir=hub.cache, local_files_only=True)
    assert_same_network(found, folder / "model.safetensors")
    sent = next((hub.cache / "models--somebody--tanet-demo/snapshots").iterdir())
    assert sorted(path.name for path in sent.iterdir()) == sorted(path.name for path in folder.iterdir())


def test_a_model_that_is_not_in_the_cache_is_named_without_a_network(hub):
    with pytest.raises(DownloadError, match="^somebody/gone on the Hugging Face Hub: [^\n]+$"):
        from_pretrained("somebody/gone", cache_dir=hub.cache, local_files_only=True)


def test_a_hub_that_cannot_be_reached_is_one_line(packed, hub, monkeypatch):
    """As in huggingface_hub over httpx, whose errors are neither OSErrors nor the Hub's."""

    def create_repo(*_, **__):
        raise Exception("[Errno -2] Name or service not known\n\nsee the docs")

    monkeypatch.setattr(hub, "create_repo", create_repo)
    with pytest.raises(DownloadError, match=r"^somebody/tanet on the Hugging Face Hub: \[Errno -2\] [^\n]+ known$"):
        push_to_hub(packed[0], "somebody/tanet")


def test_the_command_pushes_a_public_model_if_told_to(packed, hub, capsys):
    folder, _ = packed
    cli.main(["checkpoint", "push", str(folder), "somebody/tanet", "--public"])
    assert capsys.readouterr().out == "https://huggingface.co/somebody/tanet\n" and hub.private is False


def test_only_a_packed_folder_is_pushed(tmp_path, packed, hub):
    folder, _ = packed
    with pytest.raises(FileNotFoundError, match="model.safetensors: no such file; make the folder by tanet checkpoint"):
        push_to_hub(tmp_path, "somebody/tanet")
    shutil.copytree(folder, tmp_path / "cut")
    (tmp_path / "cut/model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="model.safetensors"):
        push_to_hub(tmp_path / "cut", "somebody/tanet")
    assert hub.private is None


def test_what_is_neither_a_folder_nor_a_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone: no such folder, nor a model USER/NAME"):
        from_pretrained(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="model.safetensors"):
        from_pretrained(tmp_path)


def test_without_the_package_the_hub_is_explained(packed, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for use in (lambda: from_pretrained("somebody/tanet"), lambda: push_to_hub(packed[0], "somebody/tanet")):
        with pytest.raises(ModuleNotFoundError, match="^somebody/tanet: .*pip install huggingface-hub"):
            use()

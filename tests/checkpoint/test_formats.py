import argparse
import os
import pathlib
import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from tanet import checkpoint, tanet_tiny
from tanet.checkpoint import formats, from_ours
from tanet.errors import CheckpointError
from tanet.runtime import files

WEIGHTS = from_ours(tanet_tiny(3).state_dict(), "official")


def legacy(state, path):
    """Saves as torch did before 1.6; the authors' files are in this format."""
    torch.save(state, path, _use_new_zipfile_serialization=False)


SAVES = pytest.mark.parametrize("save", [torch.save, legacy])


@SAVES
@pytest.mark.parametrize(
    "number",
    [np.float64(76.1234567890123), np.float32(0.1), np.int64(-3), np.uint8(200), np.bool_(True), np.float16(2.5)],
)
def test_numpy_numbers_in_a_file_are_read_as_plain_ones(tmp_path, save, number):
    save({"state_dict": WEIGHTS, "best_prec1": number, "epoch": 100}, tmp_path / "official.pth.tar")
    rest = checkpoint.read(tmp_path / "official.pth.tar").rest
    assert rest == {"best_prec1": number.item(), "epoch": 100}
    assert type(rest["best_prec1"]) is type(number.item())


def test_numpy_numbers_of_old_numpy_are_read(tmp_path):
    """The authors' files call the constructor by the name that it had in numpy 1."""
    path = tmp_path / "official.pth.tar"
    legacy({"state_dict": WEIGHTS, "best_prec1": np.float64(76.25)}, path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert path.read_bytes() != content and formats.read_file(path)[0]["best_prec1"] == 76.25


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


DISGUISES = {
    "beside the weights": lambda evil: {"state_dict": WEIGHTS, "epoch": evil},
    "as a weight": lambda evil: {"state_dict": {**WEIGHTS, "module.new_fc.bias": evil}},
    "as a key": lambda evil: {"state_dict": {**WEIGHTS, evil: torch.zeros(1)}},
    "deep inside": lambda evil: {"state_dict": WEIGHTS, "meta": [{"env": ({"x": [evil]},)}]},
    "instead of it all": lambda evil: evil,
    "in a checkpoint of ours": lambda evil: {"format": checkpoint.FORMAT, "model": {}, "history": [evil]},
}


@SAVES
@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("name", ["trojan.pth", "trojan.safetensors"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, save, disguise, name):
    marker, path = tmp_path / "marker", tmp_path / name
    evil = Malicious(marker)
    save(DISGUISES[disguise](evil), path)
    model = tanet_tiny(3)
    for load in (checkpoint.read, checkpoint.load_model, lambda file: checkpoint.load_weights(model, file)):
        with pytest.raises(CheckpointError, match=rf"{name}.*system, which is code"):
            load(path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(evil))
    assert marker.exists()  # it would have worked


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_bare_pickle_is_refused_and_not_run(tmp_path, protocol):
    (tmp_path / "trojan.pth").write_bytes(pickle.dumps(Malicious(tmp_path / "marker"), protocol))
    with pytest.raises(CheckpointError, match="trojan.pth"):
        formats.read_file(tmp_path / "trojan.pth")
    assert not (tmp_path / "marker").exists()


class Calls:
    """Pickles as a call of `function`; pickling by name keeps to the allowed names."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


SCALAR = np.float64(1).__reduce__()[0]
ABUSES = {
    "an object type": lambda marker: Calls(np.dtype, "O8"),
    "a record type": lambda marker: Calls(np.dtype, [("x", "O")]),
    "a scalar of bytes that are a pickle": lambda marker: Calls(SCALAR, np.dtype("O"), pickle.dumps(Malicious(marker))),
    "a scalar of no type": lambda marker: Calls(SCALAR, "f8", b"\0" * 8),
    "a scalar of too few bytes": lambda marker: Calls(SCALAR, np.dtype("f8"), b"\0"),
    "a scalar of code": lambda marker: Calls(SCALAR, np.dtype("f8"), Malicious(marker)),
}


@SAVES
@pytest.mark.parametrize("abuse", ABUSES)
def test_the_allowed_numpy_names_cannot_be_abused(tmp_path, monkeypatch, save, abuse):
    path, marker = tmp_path / "trojan.pth", tmp_path / "marker"
    save({"state_dict": WEIGHTS, "best_prec1": ABUSES[abuse](marker)}, path)
    with pytest.raises(CheckpointError, match=r"trojan.pth: (not weights|holds \w+\.system)"):
        formats.read_file(path)
    assert not marker.exists()


def test_the_replacements_of_numpys_names_refuse_the_abuse(tmp_path, monkeypatch):
    """With replacements that accept anything the same file is read."""
    torch.save({"state_dict": WEIGHTS, "best_prec1": Calls(np.dtype, "O8")}, tmp_path / "a.pth")
    permissive = [(lambda *arguments: "accepted", name) for _, name in formats._NUMPY_NUMBERS]
    monkeypatch.setattr(formats, "_NUMPY_NUMBERS", permissive)
    assert formats.read_file(tmp_path / "a.pth")[0]["best_prec1"] == "accepted"


@pytest.mark.parametrize("value", [np.datetime64("2020-01-01"), np.str_("x"), np.complex64(1), np.array([{}])])
def test_other_values_than_plain_ones_are_refused(tmp_path, value):
    torch.save({"state_dict": WEIGHTS, "value": value}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="other.pth"):
        formats.read_file(tmp_path / "other.pth")


@pytest.fixture
def mmengine(monkeypatch):
    """Makes a class of a module of MMEngine, for a file to name."""

    def make(path, bases=()):
        module_name, _, name = path.rpartition(".")
        made = type(name, bases, {"__module__": module_name})
        parts = module_name.split(".")
        for count in range(1, len(parts) + 1):
            parent = ".".join(parts[:count])
            monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
        setattr(sys.modules[module_name], name, made)
        return made

    return make


@SAVES
def test_the_message_hub_of_a_training_by_mmaction2_is_passed_over(tmp_path, mmengine, save):
    """Its HistoryBuffers hold arrays, empty ones too, and refer to their own methods by getattr."""
    buffer_class = mmengine("mmengine.logging.history_buffer.HistoryBuffer")
    buffer_class.mean = pickled_method = Method(buffer_class, "mean")
    buffer = buffer_class()
    vars(buffer).update(_log_history=np.arange(3.0), _count_history=np.array([]), statistics_methods=[pickled_method])
    rest = {"message_hub": {"log_scalars": {"train/loss": buffer}}, "meta": {"epoch": 50}}
    save({"state_dict": WEIGHTS, **rest}, tmp_path / "epoch_50.pth")
    content, _ = formats.read_file(tmp_path / "epoch_50.pth")
    assert is_stand_in(content["message_hub"]["log_scalars"]["train/loss"]) and content["meta"] == {"epoch": 50}
    assert all(torch.equal(content["state_dict"][key], WEIGHTS[key]) for key in WEIGHTS)


def is_stand_in(value):
    return type(value) is formats.StandIn and not vars(value)


class Method:
    """Pickles as protocol 2 writes the method of a class: a call of getattr."""

    def __init__(self, owner, name):
        self.call = getattr, (owner, name)

    def __reduce__(self):
        return self.call


@SAVES
@pytest.mark.parametrize(
    "value",
    [argparse.Namespace(lr=0.1, out=pathlib.Path("runs/a")), pathlib.Path("a/b"), np.zeros((2, 3)), np.arange(3)],
)
def test_settings_paths_and_arrays_beside_the_weights_are_passed_over(tmp_path, save, value):
    save({"state_dict": WEIGHTS, "args": value, "epoch": 3}, tmp_path / "theirs.pth")
    stored = checkpoint.read(tmp_path / "theirs.pth")
    assert is_stand_in(stored.rest["args"]) and stored.rest["epoch"] == 3


def test_a_settings_class_that_is_a_dict_becomes_a_plain_one(tmp_path, mmengine):
    config_class = mmengine("mmengine.config.config.ConfigDict", bases=(dict,))
    torch.save({"state_dict": WEIGHTS, "meta": {"cfg": config_class(model=config_class(depth=50))}}, tmp_path / "a.pth")
    config = checkpoint.read(tmp_path / "a.pth").rest["meta"]["cfg"]
    assert config == {"model": {"depth": 50}} and not isinstance(config, config_class)


def test_the_stand_in_for_getattr_looks_nothing_up(tmp_path):
    marker = tmp_path / "marker"
    torch.save({"state_dict": WEIGHTS, "x": Calls(getattr, torch.Tensor, "backward")}, tmp_path / "a.pth")
    assert is_stand_in(formats.read_file(tmp_path / "a.pth")[0]["x"])
    torch.save({"state_dict": WEIGHTS, "x": Calls(getattr, Malicious(marker), "real")}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match=r"b.pth: holds \w+\.system"):
        formats.read_file(tmp_path / "b.pth")
    assert not marker.exists()


def test_arrays_in_place_of_weights_are_refused(tmp_path):
    torch.save({"state_dict": {key: value.numpy() for key, value in WEIGHTS.items()}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="a.pth: holds arrays or objects in place of tensors"):
        checkpoint.read(tmp_path / "a.pth")


def test_other_objects_of_a_training_framework_are_named_with_the_way_out(tmp_path, mmengine):
    torch.save(
        {"state_dict": WEIGHTS, "runner": mmengine("mmengine.runner.runner.Runner")()}, tmp_path / "epoch_50.pth"
    )
    with pytest.raises(CheckpointError, match=r"epoch_50.pth: holds mmengine\S+Runner.*state_dict"):
        formats.read_file(tmp_path / "epoch_50.pth")


@pytest.mark.parametrize("address", ["https://host.org/a/b-032c8e94.pth", "http://host.org/b.pth", "s3://bucket/b.pth"])
@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_an_address_is_no_path_and_nothing_is_downloaded(address, kind):
    for load in (checkpoint.read, formats.read_file, lambda file: checkpoint.load_weights(tanet_tiny(3), file)):
        with pytest.raises(
            CheckpointError, match=f"^{address}: an address, .*fetch the file first.*curl -LO {address}"
        ):
            load(kind(address))


@pytest.mark.parametrize("name", ["C:/weights/b.pth", "torchvision.pth", "a:b.pth"])
def test_a_path_with_a_colon_is_no_address(name):
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        formats.read_file(name)


NOT_CHECKPOINTS = {
    "empty": (b"", "empty"),
    "git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 102400\n", "git lfs pull"),
    "HTML page": (b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning", "web page"),
    "HTML page after blank lines": (b"\r\n\n  <html>", "web page"),
    "XML error": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page"),
    "JSON": (b'{"message": "Not Found"}', "not weights"),
    "text": (b"text\n", "not weights"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not weights"),
    "ONNX": (b"\x08\x0a\x12\x07pytorch\x1a\x06" + bytes(100), "a program in ONNX, not weights.*made from"),
    "ONNX of no producer": (b"\x08\x04\x3a\x80\x01" + bytes(100), "a program in ONNX, not weights"),
    "Keras": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "mp4": (b"\x00\x00\x00\x20ftypisom" + bytes(100), "a video"),
    "webm": (b"\x1aE\xdf\xa3" + bytes(100), "a video"),
    "zip header": (b"PK\x03\x04" + bytes(100), "cut short"),
    "three bytes": (b"\x80\x02}", "cut short"),
}


def test_a_program_of_torch_is_named(tmp_path):
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), tmp_path / "network.pt")
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.zeros(1),)), tmp_path / "network.pt2")
    for name in ("network.pt", "network.pt2"):
        with pytest.raises(CheckpointError, match=f"{name}: a program of torch.export or TorchScript, not weights"):
            formats.read_file(tmp_path / name)


@pytest.mark.parametrize("kind", NOT_CHECKPOINTS)
def test_the_error_names_what_a_file_is_that_is_no_checkpoint(tmp_path, kind):
    content, word = NOT_CHECKPOINTS[kind]
    (tmp_path / "download.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=word) as failure:
        formats.read_file(tmp_path / "download.pth")
    assert str(failure.value).startswith(str(tmp_path / "download.pth"))


def test_any_other_file_is_refused_by_name(tmp_path):
    rng = np.random.default_rng(0)
    for start in (b"", b"PK", b"\x80\x02", b"\x10\x00\x00\x00\x00\x00\x00\x00{"):
        for _ in range(100):
            (tmp_path / "other.pth").write_bytes(start + rng.bytes(200))
            with pytest.raises(CheckpointError, match="other.pth"):
                formats.read_file(tmp_path / "other.pth")


def test_an_archive_without_weights_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("folder/a.txt", "text")
    with pytest.raises(CheckpointError, match="data.zip"):
        formats.read_file(tmp_path / "data.zip")


@pytest.mark.parametrize("keep", [0.001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("save", [torch.save, legacy, lambda state, path: safetensors.torch.save_file(WEIGHTS, path)])
def test_truncated_file_is_refused_by_name(tmp_path, save, keep):
    path = tmp_path / "cut.pth"
    save({"state_dict": WEIGHTS}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(CheckpointError, match=r"cut.pth.*cut short"):
        formats.read_file(path)


@pytest.mark.parametrize("length", [0x0280, 0x0480, 0x4B50, 0x3C20])
def test_safetensors_whose_length_looks_like_the_beginning_of_another_file_are_read(tmp_path, length):
    weights = {"a": torch.ones(3)}
    bare = int.from_bytes(safetensors.torch.save(weights, {"format": ""})[:8], "little")
    content = safetensors.torch.save(weights, {"format": "x" * (length - bare)})
    assert content[:2] in (b"\x80\x02", b"\x80\x04", b"PK", b" <")  # pickles, a zip archive, a web page
    (tmp_path / "a.safetensors").write_bytes(content)
    assert torch.equal(formats.read_file(tmp_path / "a.safetensors")[0]["a"], torch.ones(3))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.pth"):
        formats.read_file(tmp_path / "none.pth")
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        formats.read_file(tmp_path)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("before")
    with pytest.raises(OSError, match="disk full"), files.atomic_write(path) as file:
        file.write(b"after")
        raise OSError("disk full")
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["a.json"]


def test_safetensors_of_any_memory_format_come_back(tmp_path):
    weights = tanet_tiny(3).to(memory_format=torch.channels_last).state_dict()
    formats.write_safetensors(tmp_path / "a.safetensors", weights, {"format": "x"})
    content, metadata = formats.read_file(tmp_path / "a.safetensors")
    assert metadata == {"format": "x"} and content.keys() == weights.keys()
    assert all(torch.equal(content[key], weights[key]) for key in weights)

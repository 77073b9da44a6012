"""Files with two sets of weights: those of the network, and those of a moving average."""

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from tanet import checkpoint, cli, tanet_tiny
from tanet.checkpoint import layouts
from tanet.errors import CheckpointError


def weights(seed):
    torch.manual_seed(seed)
    return layouts.from_ours(tanet_tiny(8).state_dict(), "mmaction2")


TRAINED, AVERAGE = weights(0), weights(1)
PARAMETERS = [key for key in TRAINED if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))]


def mmcv(keys):
    return {"state_dict": {**TRAINED, **{f"ema_{key.replace('.', '_')}": AVERAGE[key] for key in keys}}, "meta": {}}


def wrapped(prefix, counter):
    return {counter: torch.tensor(100), **{f"{prefix}{key}": value for key, value in AVERAGE.items()}}


FILES = {  # content, words of the second set's name
    "mmcv": (mmcv(TRAINED), "ema_..."),
    "mmcv, wrapped": ({"state_dict": {f"module.{k}": v for k, v in mmcv(TRAINED)["state_dict"].items()}}, "ema_..."),
    "mmengine": ({"state_dict": TRAINED, "ema_state_dict": wrapped("module.", "steps")}, "ema_state_dict, which"),
    "torch": ({"state_dict": TRAINED, "ema_state_dict": wrapped("module.", "n_averaged")}, "ema_state_dict, which"),
    "timm": ({"state_dict": TRAINED, "state_dict_ema": AVERAGE, "epoch": 3}, "state_dict_ema"),
    "model_ema": ({"model": TRAINED, "model_ema": wrapped("_orig_mod.module.", "n_averaged")}, "model_ema"),
}


@pytest.fixture(params=FILES)
def stored(request, tmp_path):
    """A file, and the name of its second set."""
    content, name = FILES[request.param]
    torch.save(content, tmp_path / "a.pth")
    return tmp_path / "a.pth", name


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_either_set_can_be_read_and_it_is_said_which(stored):
    path, name = stored
    first, second = checkpoint.read(path), checkpoint.read(path, ema=True)
    assert equal(first.weights, layouts.to_ours(TRAINED, "mmaction2"))
    assert equal(second.weights, layouts.to_ours(AVERAGE, "mmaction2"))
    assert first.weight_set.startswith("those of ") and "--ema takes the second set" in first.weight_set
    assert second.weight_set.startswith(f"the second set, of {'the names ' * (name == 'ema_...')}{name}")
    assert "moving average" in first.weight_set and name.split(",")[0] in first.weight_set
    assert not {"ema_state_dict", "state_dict_ema", "model_ema"} & first.rest.keys()


def test_statistics_that_mmcv_does_not_average_belong_to_both_sets(tmp_path):
    torch.save(mmcv(PARAMETERS), tmp_path / "a.pth")
    read = checkpoint.read(tmp_path / "a.pth", ema=True).weights
    wanted = {key: AVERAGE[key] if key in PARAMETERS else TRAINED[key] for key in TRAINED}
    assert len(PARAMETERS) < len(TRAINED) and equal(read, layouts.to_ours(wanted, "mmaction2"))


def test_it_is_said_that_mmengine_exchanges_its_sets(tmp_path):
    """Its state_dict holds the averaged weights, for deployment, and ema_state_dict those before averaging."""
    torch.save(FILES["mmengine"][0], tmp_path / "a.pth")
    assert "state_dict, which holds the averaged weights" in checkpoint.read(tmp_path / "a.pth").weight_set
    assert "which holds the weights before averaging" in checkpoint.read(tmp_path / "a.pth", ema=True).weight_set


def test_a_file_with_averaged_weights_alone_is_read(tmp_path):
    torch.save({"ema_state_dict": wrapped("module.", "steps"), "epoch": 3}, tmp_path / "a.pth")
    read = checkpoint.read(tmp_path / "a.pth")
    assert equal(read.weights, layouts.to_ours(AVERAGE, "mmaction2")) and read.rest == {"epoch": 3}
    model = AveragedModel(tanet_tiny(8))
    torch.save(model.state_dict(), tmp_path / "b.pth")
    assert equal(checkpoint.read(tmp_path / "b.pth").weights, model.module.state_dict())


def test_a_second_set_that_is_not_there_is_an_error(tmp_path):
    torch.save({"state_dict": TRAINED}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a.pth: holds no second set.*leave out --ema"):
        checkpoint.read(tmp_path / "a.pth", ema=True)
    assert checkpoint.read(tmp_path / "a.pth").weight_set == ""


def test_a_name_of_an_average_without_its_weight_is_not_lost(tmp_path):
    torch.save({"state_dict": {**TRAINED, "ema_backbone_extra": torch.zeros(1)}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="unexpected ema_backbone_extra"):
        checkpoint.load_weights(tanet_tiny(8), tmp_path / "a.pth")


def test_the_commands_say_which_set_they_take(stored, capsys):
    path, name = stored
    for options, words in (([], "weights    those of "), (["--ema"], "weights    the second set, of ")):
        cli.main(["checkpoint", "inspect", str(path), *options])
        assert words in capsys.readouterr().out
    cli.main(["checkpoint", "convert", str(path), f"{path}.safetensors", "--recipe", "demo_kinetics", "--ema"])
    written = checkpoint.read(f"{path}.safetensors")
    assert equal(written.weights, layouts.to_ours(AVERAGE, "mmaction2"))
    assert f"weights: the second set, of {'the names ' * (name == 'ema_...')}{name}" in written.source

"""Exported programs: what they compute, that they run alone, and that nothing wrong is written."""

import json
import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import resnet

from tanet import cli, exporting, recipes, tanet_tiny
from tanet.checkpoint import FORMAT
from tanet.errors import CheckpointError, ExportError
from tanet.exporting import TARGETS, export
from tanet.model import build, insert_tam

RUNNERS = {"onnx": ("onnx", "onnxscript", "onnxruntime")}
NAMES = ("left", "right", "up", "down", "still")


def need(target: str) -> None:
    for package in RUNNERS.get(target, ()):
        pytest.importorskip(package, reason=f"{package} is not installed")


def lively(network: nn.Module) -> nn.Module:
    """With statistics and scores as after a training, so that a wrong normalisation or a lost TAM is seen."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 1.2)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.2)
    return network


def clips(n: int, t: int = 4, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(100 + n)
    return torch.randint(0, 256, (n, t, 3, size, size), dtype=torch.uint8, generator=generator)


def run(path, target: str, batch: torch.Tensor) -> torch.Tensor:
    """The program by its own runtime, as a user would."""
    if target == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(["probabilities"], {"clips": batch.numpy()})[0])
    if target == "torch":
        return torch.export.load(path).module()(batch)
    return torch.jit.load(path)(batch)


def about(path, target: str) -> dict:
    """What the file says of itself."""
    if target == "onnx":
        import onnx

        return json.loads({item.key: item.value for item in onnx.load(path).metadata_props}["tanet"])
    said = {"tanet": ""}
    if target == "torch":
        torch.export.load(path, extra_files=said)
    else:
        torch.jit.load(path, _extra_files=said)
    return json.loads(said["tanet"])


@pytest.fixture(scope="module")
def recipe():
    return recipes.demo_something().with_changes({"num_frames": 4, "num_classes": 5})


@pytest.fixture(scope="module")
def weights(tmp_path_factory, recipe):
    """A checkpoint of this package, with class names."""
    path = tmp_path_factory.mktemp("weights") / "last.pth"
    state = {"format": FORMAT, "model": lively(build(recipe)).state_dict()}
    torch.save(state | {"recipe": recipe.to_json(), "class_names": NAMES}, path)
    return path


@pytest.fixture(scope="module")
def programs(tmp_path_factory, weights):
    """{target: path}, made at first use."""
    folder, made = tmp_path_factory.mktemp("programs"), {}

    def program(target: str):
        need(target)
        if target not in made:
            made[target] = folder / f"{target}.pt2"
            export(weights, made[target], target, size=32)
        return made[target]

    return program


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@torch.no_grad()
def test_a_program_gives_the_networks_probabilities_for_any_number_of_clips(target, programs, recipe, weights):
    network = build(recipe)
    network.load_state_dict(torch.load(weights)["model"])
    path = programs(target)
    for n in (1, 2, 5):
        wanted = network.eval()(clips(n)).softmax(-1)
        assert wanted.max() > 0.3  # the clips are told apart
        torch.testing.assert_close(run(path, target, clips(n)), wanted, rtol=1e-4, atol=1e-5)
    alone = run(path, target, clips(5)[3:4])
    torch.testing.assert_close(run(path, target, clips(5))[3:4], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_a_program_says_what_goes_in_and_which_classes_come_out(target, programs):
    assert about(programs(target), target) == {
        "input": ["N", 4, 3, 32, 32],
        "output": ["N", 5],
        "class_names": list(NAMES),
    }


@pytest.mark.slow
def test_a_program_of_weights_for_kinetics_400_without_names_has_the_published_ones(tmp_path):
    recipe = recipes.demo_kinetics().with_changes({"num_frames": 4, "num_classes": 400})
    torch.save(build(recipe).state_dict(), tmp_path / "theirs.pth")
    export(tmp_path / "theirs.pth", tmp_path / "program.pt", "torchscript", recipe=recipe, size=32)
    names = about(tmp_path / "program.pt", "torchscript")["class_names"]
    assert names[0] == "abseiling" and len(names) == 400


@pytest.mark.slow
def test_torchs_programs_run_where_this_package_is_not(programs):
    script = "import sys, torch\nsys.modules['tanet'] = None\n"
    script += "clips = torch.zeros(3, 4, 3, 32, 32, dtype=torch.uint8)\n"
    script += "for run in (torch.export.load(sys.argv[1]).module(), torch.jit.load(sys.argv[2])):\n"
    script += "    assert torch.allclose(run(clips).sum(1), torch.ones(3))\n"
    command = [sys.executable, "-W", "ignore", "-c", script, programs("torch"), programs("torchscript")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_program_in_onnx_has_onnxs_own_operations_alone(programs):
    path = programs("onnx")
    import onnx

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""} and not model.functions
    assert not [node for node in model.graph.node if "Scatter" in node.op_type]  # slow: an index for each frame


@pytest.mark.slow
@pytest.mark.parametrize(
    "target, temporal", [("onnx", "tam"), ("onnx", "tsm"), ("torch", "tam"), ("torchscript", "tsm")]
)
@torch.no_grad()
def test_an_image_network_with_temporal_modules_is_exported_from_any_mode(target, temporal, tmp_path):
    """In training mode, as it comes from a training: the program is that of testing, and the network stays."""
    need(target)
    images = resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1], num_classes=5)
    network = insert_tam(lively(images), 4, temporal).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    result = export(network, tmp_path / "program.pt2", target, size=32)
    assert network.training and all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    wanted = network.eval()(clips(2)).softmax(-1)
    torch.testing.assert_close(run(tmp_path / "program.pt2", target, clips(2)), wanted, rtol=1e-3, atol=1e-5)
    assert result.difference <= 1e-4 and result.clips == ("N", 4, 3, 32, 32) and result.num_classes == 5


def test_the_command_prints_what_it_wrote_and_what_checked_it(weights, tmp_path, capsys):
    target = tmp_path / "network.pt"
    cli.main(["export", "--to", "torchscript", str(weights), str(target)])
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and line.startswith(f"{target}: torchscript, ")
    size = recipes.demo_something().test_size  # that of the checkpoint's recipe
    assert f"[N, 4, 3, {size}, {size}] -> probabilities [N, 5]; checked by torch {torch.__version__}" in line


@pytest.fixture
def tiny():
    return lively(tanet_tiny(5, num_frames=4))


@pytest.mark.parametrize("spoiled", ["weights", "shape"])
def test_a_program_that_computes_something_else_is_not_written(spoiled, tiny, tmp_path, monkeypatch):
    """What was there before stays."""
    make, target = exporting._make_torchscript, tmp_path / "program.pt2"
    target.write_bytes(b"before")

    def make_another(program, example, about):
        if spoiled == "weights":
            program.network.layer4[0].bn3.bias.add_(0.5)
            program.network.fc.weight.mul_(-1)
            data = make(program, example, about)
            program.network.fc.weight.mul_(-1)
            return data
        return make(nn.Sequential(program, nn.Flatten(0)), example, about)

    monkeypatch.setattr(exporting, "_make_torchscript", make_another)
    with pytest.raises(ExportError, match="nothing was written"):
        export(tiny, target, "torchscript", size=32)
    assert target.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


def test_what_torch_cannot_export_is_one_line(tiny, tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("\nno such operation\nand many lines")

    monkeypatch.setattr(exporting, "_make_torch", fail)
    with pytest.raises(ExportError, match="^torch cannot export this TANet to torch: no such operation$"):
        export(tiny, tmp_path / "program.pt2", "torch", size=32)
    assert not list(tmp_path.iterdir())


def test_weights_that_give_no_numbers_are_refused(tiny, tmp_path):
    nn.init.constant_(tiny.fc.bias, float("nan"))
    with pytest.raises(ExportError, match="not finite"):
        export(tiny, tmp_path / "program.pt2", "torch")


def test_a_network_without_a_score_per_class_is_refused(tmp_path):
    network = insert_tam(torchvision.models.resnet18(), 4)
    network.network.fc = nn.Unflatten(1, (2, 256))
    with pytest.raises(ExportError, match=r"scores \[N, num_classes\], it gives \(1, 2, 256\)"):
        export(network, tmp_path / "program.pt2", "torch", size=32)


def test_a_network_of_images_is_refused_saying_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="ResNet is no network of clips.*insert_tam"):
        export(torchvision.models.resnet18(), tmp_path / "program.pt2", "torch")


def test_the_checkpoint_is_not_overwritten_by_its_program(weights):
    before = weights.read_bytes()
    with pytest.raises(ValueError, match="this is the checkpoint"):
        export(weights, weights, "torchscript")
    assert weights.read_bytes() == before


@pytest.mark.parametrize("arguments, message", [({"to": "tflite"}, "onnx, torch, torchscript.*'tflite'"),
                                                ({"to": "torch", "size": 16}, "at least 32"),
                                                ({"to": "torch", "size": 224.0}, "whole number")])  # fmt: skip
def test_wrong_arguments_are_refused(arguments, message, tiny, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(tiny, tmp_path / "program.pt2", **arguments)
    with pytest.raises(ValueError, match="network.pt: .*ends in .pt2"):
        export(tiny, tmp_path / "network.pt", "torch")
    with pytest.raises(FileNotFoundError, match="gone: no such folder"):
        export(tiny, tmp_path / "gone" / "program.pt2", "torch")


def test_without_onnx_one_line_says_what_to_install(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="needs onnx and onnxscript: pip install onnx onnxscript"):
        export(tiny, tmp_path / "program.pt2", "onnx")


def test_without_onnxruntime_the_result_says_that_nothing_checked_it(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "onnxruntime" else True)
    monkeypatch.setattr(exporting, "_make_onnx", lambda *arguments: b"a program")
    result = export(tiny, tmp_path / "program.pt2", "onnx", size=32)
    assert result.checked_by is None and "NOT CHECKED" in str(result) and "pip install onnxruntime" in str(result)


@pytest.mark.slow
@pytest.mark.parametrize("target, kind", [("onnx", "ONNX"), ("torch", "torch.export"), ("torchscript", "TorchScript")])
def test_a_program_in_the_place_of_weights_is_named(target, kind, programs, tmp_path):
    with pytest.raises(CheckpointError, match=f"a program .*{kind}.*not weights; give the checkpoint"):
        export(programs(target), tmp_path / "program.pt2", "torch")

"""Networks as programs that run without this package: ONNX, torch.export, TorchScript.

A program takes uint8 RGB clips [N, T, 3, H, W] and returns probabilities [N, num_classes]. It holds the weights and the
normalisation of pixels. Any number of clips fits; T, H and W are fixed. It is checked before it is written.
"""

import copy
import io
import json
import os
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from tanet.checkpoint import Checkpoint, load_model, published_names
from tanet.errors import ExportError
from tanet.model import ClipNetwork
from tanet.recipes import Recipe
from tanet.runtime import atomic_write

TARGETS = ("onnx", "torch", "torchscript")
TOLERANCE = 1e-4  # of the largest probability
INPUT, OUTPUT = "clips", "probabilities"


@dataclass(frozen=True)
class Exported:
    """The outcome of `export`."""

    path: Path
    target: str  # one of TARGETS
    clips: tuple[str | int, ...]  # the shape ("N", T, 3, H, W)
    num_classes: int
    checked_by: str | None  # what ran the program, with its version; None if nothing here runs it
    difference: float | None  # the largest difference of a probability from the network's

    def __str__(self) -> str:
        shape = ", ".join(map(str, self.clips))
        text = f"{self.path}: {self.target}, {self.path.stat().st_size / 2**20:.1f} MiB, uint8 clips [{shape}] -> "
        text += f"probabilities [N, {self.num_classes}]; "
        if self.checked_by is None:
            return text + "NOT CHECKED: nothing here runs it (pip install onnxruntime)"
        return text + f"checked by {self.checked_by}: probabilities differ from the network's by {self.difference:.1g}"


class _Probabilities(nn.Module):
    """uint8 clips [N, T, 3, H, W] -> probabilities [N, num_classes]."""

    def __init__(self, network: ClipNetwork):
        super().__init__()
        self.network = network

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.network(clips).softmax(-1)


def export(
    source: ClipNetwork | str | os.PathLike | Checkpoint,
    path: str | os.PathLike,
    to: str = "onnx",
    size: int | None = None,
    recipe: Recipe | None = None,
) -> Exported:
    """Writes a network as a program that runs without this package.

    source: a checkpoint in any layout that `load_model` reads, or a network: a TANet or what `insert_tam` returns, on
    any device and in any mode; it stays as it is. to: "onnx", "torch" (of torch.export: *.pt2) or "torchscript".
    size: pixels, side of the frames; by default that of the recipe's three crops (`test_size`), or 224 for a network.
    recipe: as for `load_model`.

    Before anything is written, the program and the network, in evaluation mode on the CPU in float32, score the same
    clips in batches of other sizes than the one that the program was made with. ExportError if they differ, or if torch
    cannot make the program. ModuleNotFoundError without the packages that ONNX needs. ONNX is checked by onnxruntime;
    where that is not installed, the result says so.
    """
    if to not in TARGETS:
        raise ValueError(f"to must be one of {', '.join(TARGETS)}; got {to!r}")
    if size is not None and (not isinstance(size, int) or size < 32):
        raise ValueError(f"size must be a whole number of at least 32 pixels, got {size!r}")
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder")
    if to == "torch" and path.suffix != ".pt2":
        raise ValueError(f"{path}: a program of torch.export needs a name that ends in .pt2 to be loaded again")
    if to == "onnx":
        _require("onnx", "onnxscript")
    network, class_names, test_size = _network_of(source, path, recipe)
    program = _Probabilities(copy.deepcopy(network).cpu().float()).eval().requires_grad_(False)
    shape = (program.network.num_frames, 3, size or test_size, size or test_size)
    with torch.no_grad():
        num_classes = _check_itself(program, shape)
        about = {"input": ["N", *shape], "output": ["N", num_classes], "class_names": class_names}
        data = _made(program, shape, to, json.dumps(about))
        runner, checked_by = _runner(data, to)
        difference = None if runner is None else _difference(program, runner, shape, to)
    with atomic_write(path) as file:
        file.write(data)
    return Exported(path, to, ("N", *shape), num_classes, checked_by, difference)


def _require(*packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ModuleNotFoundError(f"export to ONNX needs {' and '.join(missing)}: pip install {' '.join(missing)}")


def _network_of(source, path: Path, recipe: Recipe | None) -> tuple[ClipNetwork, tuple[str, ...] | None, int]:
    """(network, names of its classes if known, size of the frames that it is tested with)."""
    if isinstance(source, ClipNetwork):
        return source, None, 224
    if isinstance(source, nn.Module):
        raise ValueError(
            f"{type(source).__name__} is no network of clips; export a TANet, what tanet.insert_tam returns, or "
            "tanet.model.VideoNetwork(network, num_frames)"
        )
    if path.exists() and path.samefile(source.path if isinstance(source, Checkpoint) else source):
        raise ValueError(f"{path}: this is the checkpoint; give the program another name")
    network, recipe, class_names = load_model(source, recipe)
    return network, class_names or published_names(recipe), recipe.test_size


def _clips(number: int, shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(number)
    return torch.randint(0, 256, (number, *shape), dtype=torch.uint8, generator=generator)


def _check_itself(program: nn.Module, shape: tuple[int, ...]) -> int:
    """The number of classes. ExportError for a network that gives no probabilities."""
    probabilities = program(_clips(1, shape))
    if probabilities.ndim != 2:
        raise ExportError(f"the network must give scores [N, num_classes], it gives {tuple(probabilities.shape)}")
    if not probabilities.isfinite().all():
        raise ExportError("the network's probabilities are not finite: are these the right weights?")
    return probabilities.shape[1]


def _made(program: nn.Module, shape: tuple[int, ...], to: str, about: str) -> bytes:
    """The file's content; `about` is stored in it under the name "tanet"."""
    make = {"onnx": _make_onnx, "torch": _make_torch, "torchscript": _make_torchscript}[to]
    example = _clips(2, shape)  # with a batch of 1, torch would take 1 for a constant
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporters about themselves; the check below is what counts
            return make(program, example, about)
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(f"torch cannot export this {type(program.network).__name__} to {to}: {reason}") from error


def _make_onnx(program: nn.Module, example: torch.Tensor, about: str) -> bytes:
    made = torch.onnx.export(
        program,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("N")},),
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
    ).model_proto
    made.metadata_props.add(key="tanet", value=about)
    return made.SerializeToString()


def _make_torch(program: nn.Module, example: torch.Tensor, about: str) -> bytes:
    made = torch.export.export(program, (example,), dynamic_shapes=({0: torch.export.Dim("N")},))
    buffer = io.BytesIO()
    torch.export.save(made, buffer, extra_files={"tanet": about})
    return buffer.getvalue()


def _make_torchscript(program: nn.Module, example: torch.Tensor, about: str) -> bytes:
    made = torch.jit.trace(program, (example,), check_trace=False)
    buffer = io.BytesIO()
    torch.jit.save(made, buffer, _extra_files={"tanet": about})
    return buffer.getvalue()


def _runner(data: bytes, to: str):
    """(function from clips to probabilities by the program, what runs it); (None, None) if nothing here does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if to == "torch":
            return torch.export.load(io.BytesIO(data)).module(), f"torch {torch.__version__}"
        if to == "torchscript":
            return torch.jit.load(io.BytesIO(data)), f"torch {torch.__version__}"
    if find_spec("onnxruntime") is None:
        return None, None
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def run(clips: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: clips.numpy()})[0])

    return run, f"onnxruntime {version('onnxruntime')}"


def _difference(program: nn.Module, run, shape: tuple[int, ...], to: str) -> float:
    """The largest difference of a probability. ExportError if it is too large."""
    largest = 0.0
    for number in (1, 3):
        clips = _clips(number, shape)
        wanted, got = program(clips), run(clips)
        if got.shape != wanted.shape:
            raise ExportError(f"the {to} program gives {tuple(got.shape)} for {number} clips; nothing was written")
        difference = (got - wanted).abs().max().item()
        if not difference <= TOLERANCE * wanted.max():
            raise ExportError(
                f"the {to} program differs from the network by {difference:.2g} of a largest probability of "
                f"{wanted.max():.2g}; nothing was written"
            )
        largest = max(largest, difference)
    return largest

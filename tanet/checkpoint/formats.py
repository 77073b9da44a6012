"""Files of weights: torch.save and safetensors, read without running code from them."""

import os
import pickle
import re
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch

from tanet.errors import CheckpointError
from tanet.runtime.files import atomic_write


def read_file(path: str | os.PathLike) -> tuple[dict, dict[str, str]]:
    """A file of torch.save or safetensors, told apart by content -> (what it holds, safetensors metadata), on the CPU.

    Of a pickle, tensors, plain values and numpy's numbers are read and nothing else. Raises FileNotFoundError or
    CheckpointError.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    with open(path, "rb") as file:
        start = file.read(512)
    if _is_safetensors(start):
        return _read_safetensors(path)
    _refuse_other_files(path, start)
    content = _read_torch(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a checkpoint but a {type(content).__name__}")
    return content, {}


def _is_safetensors(start: bytes) -> bool:
    """Such a file begins with the length of its header in 8 bytes, and the header with a brace."""
    return int.from_bytes(start[:8], "little") < 2**27 and start[8:9] == b"{"


def _refuse_other_files(path: Path, start: bytes):
    if not start:
        raise CheckpointError(f"{path}: empty; get the file again")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: a git-lfs pointer, not the file it stands for; fetch that with `git lfs pull`")
    if start.lstrip()[:1] == b"<":
        raise CheckpointError(
            f"{path}: a web page, not a checkpoint: the download led to a login or confirmation page; fetch it in a browser"
        )


def _read_safetensors(path: Path) -> tuple[dict, dict[str, str]]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not weights as safetensors writes them, or damaged or cut short ({error}); get the file again"
        ) from error


def _read_torch(path: Path):
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail the unpickler in any way
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    text = str(error)
    code = re.search(r"GLOBAL (\w+\.[\w.]+)", text)
    if code:
        return CheckpointError(
            f"{path}: holds {code[1]}, which is code and not weights; it was not run. If you trust where the file comes from, "
            'store its weights alone: torch.save({"state_dict": torch.load(PATH, weights_only=False)["state_dict"]}, NEW_PATH)'
        )
    reason = text.rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0] or type(error).__name__
    return CheckpointError(
        f"{path}: not weights as torch.save writes them, or damaged or cut short ({path.stat().st_size} bytes; {reason[:120]}); "
        "get the file again"
    )


class _NumberType:
    """Stands in for numpy.dtype when a pickle asks for it: a number's type, and nothing else."""

    def __init__(self, code: str, align: bool = False, copy: bool = False):
        if not re.fullmatch(r"[biuf][1248]", str(code)):
            raise pickle.UnpicklingError(f"a numpy value of type {code!r}, which is no plain number")
        self.code = code

    def __setstate__(self, state: tuple):
        if state[1] == ">":
            raise pickle.UnpicklingError("a numpy value written on a big-endian machine")


def _number(kind: _NumberType, data: bytes) -> float | int | bool:
    """Stands in for numpy's scalar constructor, which the authors' files call for their best accuracy."""
    return np.frombuffer(data, f"<{kind.code}", 1).item()


# Names that pickles of plain numpy numbers call, and what is called instead: numpy's own could build arbitrary objects.
_NUMPY_NUMBERS = [
    (_NumberType, "numpy.dtype"),
    (_number, "numpy.core.multiarray.scalar"),
    (_number, "numpy._core.multiarray.scalar"),
]


def write_safetensors(path: str | os.PathLike, weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Writes a safetensors file whole or not at all."""
    content = safetensors.torch.save({key: value.contiguous() for key, value in weights.items()}, metadata)
    with atomic_write(path) as file:
        file.write(content)

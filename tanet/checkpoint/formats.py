"""Files of weights: torch.save and safetensors, read without running code from them.

What is read: tensors; torch's Size, dtype and device; dicts, lists, tuples and sets of plain values (None, bool,
numbers, str, bytes); numpy's numbers, which become plain ones; the text metadata of safetensors.

What is passed over: numpy's arrays of numbers and the objects that training frameworks put beside the weights (_OBJECTS
lists them). An empty StandIn takes the place of each, a plain dict that of a dict's subclass (_DICTS). Their code is
neither imported nor called.

What is never read: anything else for which a name in the file would have to be imported or called, such as a pickled
object, function or class, numpy's strings and dates included. Such a file raises CheckpointError, and nothing of it was
run.
"""

import os
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch

from tanet.errors import CheckpointError
from tanet.runtime import atomic_write, user_path


def read_file(path: str | os.PathLike) -> tuple[dict, dict[str, str]]:
    """The content of a file of torch.save or safetensors, on the CPU, and its safetensors metadata (else empty).

    The bytes decide which of the two it is, not the name. The top of this module lists what is read and what never is.
    Raises FileNotFoundError, and CheckpointError if the file is damaged, is no checkpoint or holds what is never read,
    and for an address.
    """
    address, path = os.fspath(path), user_path(path)
    if not path.is_file():
        _refuse_address(address)
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


def _refuse_address(path: str) -> None:
    """CheckpointError for https://..., also for what a Path makes of it, https:/...; C:/ is a drive."""
    address = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", path)
    if address:
        address = "://".join(address.groups())
        raise CheckpointError(
            f"{address}: an address, and no checkpoint is downloaded here; fetch the file first, for example by "
            f"`curl -LO {address}`, and give its path"
        )


def _is_safetensors(start: bytes) -> bool:
    """A safetensors file begins with the length of its header in 8 bytes, and the header begins with a brace."""
    return int.from_bytes(start[:8], "little") < 2**27 and start[8:9] == b"{"


def _refuse_other_files(path: Path, start: bytes) -> None:
    """CheckpointError for files that are often downloaded in place of a checkpoint."""
    if not start:
        raise CheckpointError(f"{path}: empty; get the file again")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: a git-lfs pointer, not the file it stands for; fetch that with `git lfs pull`")
    if start.startswith(b"\x89HDF"):
        raise CheckpointError(f"{path}: an HDF5 file, as Keras writes them; its weights are not read here")
    if start[4:8] == b"ftyp" or start.startswith((b"\x1aE\xdf\xa3", b"RIFF")):
        raise CheckpointError(f"{path}: a video, not weights; give the checkpoint")
    if re.match(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42\x72]", start):  # its version, then another field
        raise CheckpointError(f"{path}: a program in ONNX, not weights; give the checkpoint that it was made from")
    if _is_program(path):
        raise CheckpointError(
            f"{path}: a program of torch.export or TorchScript, not weights; give the checkpoint that it was made from"
        )
    if start.lstrip()[:1] == b"<":
        raise CheckpointError(
            f"{path}: a web page, not a checkpoint: the download led to a login or confirmation page; fetch the file "
            "in a browser"
        )


def _is_program(path: Path) -> bool:
    """Whether a zip file of torch holds a program instead of a pickle."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError):
        return False
    return any(name.startswith("code/") or name == "archive_format" for name in names)


def _read_safetensors(path: Path) -> tuple[dict, dict[str, str]]:
    """Tensors by name, and the metadata."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not weights as safetensors writes them, or damaged or cut short ({error}); get the file again"
        ) from error


def _read_torch(path: Path) -> object:
    """Whatever torch's weights-only unpickler allows, numpy's numbers, and stand-ins. It refuses all other names."""
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS + _STAND_INS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail the unpickler in any way
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    """The error to raise for a file that torch could not read: it holds code, or it is damaged."""
    text = str(error)
    code = re.search(r"GLOBAL (\w+\.[\w.]+)", text)
    if code:
        return CheckpointError(
            f"{path}: holds {code[1]}, which is code and not weights; it was not run. If you trust where the file "
            "comes from, store its weights alone: "
            'torch.save({"state_dict": torch.load(PATH, weights_only=False)["state_dict"]}, NEW_PATH)'
        )
    reason = text.rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0] or type(error).__name__
    return CheckpointError(
        f"{path}: not weights as torch.save writes them, or damaged or cut short ({path.stat().st_size} bytes; "
        f"{reason[:120]}); get the file again"
    )


class _NumberType:
    """Replaces numpy.dtype while a pickle is read: it accepts the type of a plain number and refuses all others."""

    def __init__(self, code: str, align: bool = False, copy: bool = False):
        if not re.fullmatch(r"[biuf][1248]", str(code)):
            raise pickle.UnpicklingError(f"a numpy value of type {code!r}, which is no plain number")
        self.code = code

    def __setstate__(self, state: tuple):
        if state[1] == ">":
            raise pickle.UnpicklingError("a numpy value written on a big-endian machine")


def _number(number_type: _NumberType, data: bytes) -> float | int | bool:
    """Replaces numpy's scalar constructor, which the authors' files call for their best accuracy."""
    return np.frombuffer(data, f"<{number_type.code}", 1).item()


# Names that pickles of numpy's numbers call, and what is called instead: numpy's own could build arbitrary objects.
_NUMPY_NUMBERS = [
    (_NumberType, "numpy.dtype"),
    (_number, "numpy.core.multiarray.scalar"),
    (_number, "numpy._core.multiarray.scalar"),
]


class StandIn:
    """Empty, in place of an object that a file holds beside its weights. It drops all that it is built from."""

    def __init__(self, *arguments):
        pass

    def __setstate__(self, state: object):
        pass


# What frameworks put into the checkpoints of a training. A HistoryBuffer of MMEngine holds arrays, and its methods by
# `getattr`, which is stood in for, too: it looks nothing up.
_OBJECTS = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "argparse.Namespace",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "builtins.bytes",
    "builtins.getattr",
)
_DICTS = ("mmengine.config.config.ConfigDict", "mmcv.utils.config.ConfigDict")
_STAND_INS = [*((StandIn, name) for name in _OBJECTS), *((OrderedDict, name) for name in _DICTS)]


def write_safetensors(path: str | os.PathLike, weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Writes a safetensors file whole or not at all."""
    content = safetensors.torch.save({key: value.contiguous() for key, value in weights.items()}, metadata)
    with atomic_write(path) as file:
        file.write(content)

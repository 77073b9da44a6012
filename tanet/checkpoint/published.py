"""The published files of weights by name: where they are on the net, and how one gets here.

The addresses are those of MMAction2's model zoo, configs/recognition/tanet/README.md, on its branches 0.x and main. A
file's name ends in the first digits of its SHA-256. The authors publish a folder on Google Drive, without an address or
a digest for each file: their files are fetched by hand and given by their paths.
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

import torch

from tanet.errors import CheckpointError, DownloadError
from tanet.runtime import atomic_write, sha256, track

SECONDS = 30.0  # without an answer, after which a server counts as out of reach
MIB = 2**20


@dataclass(frozen=True)
class PublishedFile:
    """A file of weights that somebody published."""

    name: str  # by which this package knows it
    recipe: str  # whose network it is
    folder: str  # its address, without the file
    file: str  # ends in the first 8 digits of its SHA-256

    @property
    def url(self) -> str:
        return f"{self.folder}/{self.file}"

    @property
    def digits(self) -> str:
        return self.file.rpartition(".")[0].rpartition("-")[2]


_0X = "https://download.openmmlab.com/mmaction/recognition/tanet"
_1X = "https://download.openmmlab.com/mmaction/v1.0/recognition/tanet"


def _published(name: str, recipe: str, root: str, stem: str, ending: str) -> PublishedFile:
    return PublishedFile(name, recipe, f"{root}/{stem}", f"{stem}_{ending}.pth")


_FILES = (
    _published("mmaction2-k400-8f", "k400_8f", _0X, "tanet_r50_dense_1x1x8_100e_kinetics400_rgb", "20210219-032c8e94"),
    _published("mmaction2-sthv1-8f", "sthv1_8f", _0X, "tanet_r50_1x1x8_50e_sthv1_rgb", "20210630-f4a48609"),
    _published("mmaction2-sthv1-16f", "sthv1_16f", _0X, "tanet_r50_1x1x16_50e_sthv1_rgb", "20211202-370c2128"),
    _published(
        "mmaction2-1x-k400-8f",
        "k400_8f",
        _1X,
        "tanet_imagenet-pretrained-r50_8xb8-dense-1x1x8-100e_kinetics400-rgb",
        "20220919-a34346bc",
    ),
    _published(
        "mmaction2-1x-sthv1-8f",
        "sthv1_8f",
        _1X,
        "tanet_imagenet-pretrained-r50_8xb8-1x1x8-50e_sthv1-rgb",
        "20220906-de50e4ef",
    ),
    _published(
        "mmaction2-1x-sthv1-16f",
        "sthv1_16f",
        _1X,
        "tanet_imagenet-pretrained-r50_8xb6-1x1x16-50e_sthv1-rgb",
        "20220919-cc37e9b8",
    ),
)
PUBLISHED_FILES = {file.name: file for file in _FILES}


def published_file(source: str | os.PathLike) -> PublishedFile | None:
    """The published file of this name; None if `source` is a path.

    FileNotFoundError, with the names that there are, if it looks like a name and is neither.
    """
    path = Path(source)
    if path.exists() or path.suffix or len(path.parts) != 1:
        return PUBLISHED_FILES.get(str(source)) if not path.exists() else None
    if str(source) not in PUBLISHED_FILES:
        raise FileNotFoundError(
            f"{source}: no such file, nor a published one of that name; there are {', '.join(PUBLISHED_FILES)}"
        )
    return PUBLISHED_FILES[str(source)]


def fetch(file: PublishedFile) -> Path:
    """The path of a published file in the cache of torch.hub, whole and checked; it is downloaded if it is not there.

    DownloadError, which says what to put where, if it cannot be downloaded; CheckpointError if the file there is
    another one than its name says.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", file.file)
    if not path.exists():
        _download(file, path)
    digest = sha256(path)
    if not digest.startswith(file.digits):
        raise CheckpointError(
            f"{path}: is damaged or another file, its SHA-256 begins with {digest[:8]}; remove it to fetch it again"
        )
    return path


def _download(file: PublishedFile, path: Path) -> None:
    """Writes the file to `path`, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urlopen(file.url, timeout=SECONDS) as answer, atomic_write(path) as target:
            size, digest = int(answer.headers.get("Content-Length") or 0), hashlib.sha256()
            for piece in track(_pieces(answer), -(-size // MIB), f"{file.file}, MiB", file=sys.stderr):
                target.write(piece)
                digest.update(piece)
            if size and target.tell() != size:
                raise OSError(f"the server ended after {target.tell()} of {size} bytes")
            if not digest.hexdigest().startswith(file.digits):
                raise OSError(f"what came has a SHA-256 that begins with {digest.hexdigest()[:8]}")
    except (OSError, HTTPException) as error:  # URLError is an OSError
        raise DownloadError(
            f"{file.name}: not in the cache, and {file.url} cannot be downloaded ({error}); fetch it on a machine with "
            f"internet access and put it into {path.parent}"
        ) from error


def _pieces(answer) -> Iterator[bytes]:
    while piece := answer.read(MIB):
        yield piece


def published_files_table() -> str:
    """PUBLISHED_FILES as a Markdown table."""
    rows = ["| name | recipe | file | SHA-256 begins with |", "|---|---|---|---|"]
    rows += [f"| `{file.name}` | `{file.recipe}` | [{file.file}]({file.url}) | {file.digits} |" for file in _FILES]
    return "\n".join(rows)

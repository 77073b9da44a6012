"""Writes folders of frames anew, smaller, and with all frames of a folder of one size, as training needs them.

A clip has the size that most of its frames have. Frames that have it and are small enough are copied byte by byte; the
others are resized to it, and stay what they are, JPEG (quality 95) or PNG. Pictures of optical flow are left out.
"""

import shutil
from collections import Counter
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from tanet.data import read_frame_names
from tanet.errors import VideoError
from tanet.prepare.common import written_whole

JPEG_QUALITY = 95


def resize_frames(source: Path, target: Path, short_side: int) -> int:
    """Writes the folder `target`, whole or not at all; returns how many of its frames were resized. `short_side` in
    pixels. VideoError names a folder that cannot be read or a frame that is broken."""
    names = read_frame_names(source)
    frames = [names.name(index) for index in range(names.count)]
    sizes = {name: _size(source / name) for name in frames}
    common = Counter(sizes.values()).most_common(1)[0][0]
    size = scaled_size(*common, short_side) if min(common) > short_side else common
    with written_whole(target) as folder:
        for name in frames:
            if sizes[name] == size:
                shutil.copyfile(source / name, folder / name)
            else:
                picture = Image.open(source / name).convert("RGB").resize(size, Image.Resampling.BICUBIC)
                picture.save(folder / name, quality=JPEG_QUALITY)
    return sum(frame_size != size for frame_size in sizes.values())


def _size(path: Path) -> tuple[int, int]:
    """(width, height) of a picture, after decoding it."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.size
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise VideoError(f"{path}: cannot be read as a picture ({error})") from error


def scaled_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) with the given short side: even, the long side rounded, never larger than before.

    >>> scaled_size(1280, 720, 256)
    (456, 256)
    """
    ratio = min(1.0, short_side / min(width, height))
    return tuple(max(2, 2 * int(side * ratio / 2 + 0.5)) for side in (width, height))

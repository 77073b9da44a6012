"""Resizes, crops and flips of frames.

Frames are uint8 RGB [..., 3, H, W] and stay uint8; the model normalises them on the device. A box is (top, left,
height, width) in pixels. `style` chooses between the two published code bases where they differ: "mmaction2" or
"official" (the authors' repository).
"""

import re

import cv2
import numpy as np
import torch
from PIL import Image

Box = tuple[int, int, int, int]


def resize_short_side(frames: torch.Tensor, size: int, style: str = "mmaction2") -> torch.Tensor:
    """Resizes bilinearly so that the short side has `size` pixels and the aspect ratio stays.

    MMAction2 resizes by OpenCV, without antialias, and rounds the long side. The official code resizes by Pillow, with
    antialias, and floors the long side.
    """
    height, width = frames.shape[-2:]
    if min(height, width) == size:
        return frames
    long = max(height, width) * size / min(height, width)
    long = int(long + 0.5) if style == "mmaction2" else int(long)
    new_size = (size, long) if height <= width else (long, size)
    return _resize(frames, new_size, style)


def multi_scale_crop(height: int, width: int, size: int, scales: tuple[float, ...], rng: np.random.Generator) -> Box:
    """A random box for training, at one of 13 positions.

    The box's height and width are the frame's short side times two of `scales`, which are equal or neighbours in that
    tuple. A side within 2 pixels of `size` becomes `size` if the frame is large enough: then no resize is needed.
    """
    short = min(height, width)
    sides = [int(short * scale) for scale in scales]
    sides = [size if abs(side - size) <= 2 and size <= short else side for side in sides]
    levels = range(len(sides))
    pairs = [(sides[i], sides[j]) for i in levels for j in levels if abs(i - j) <= 1]
    crop_height, crop_width = pairs[rng.integers(len(pairs))]
    row, column = CROP_POSITIONS[rng.integers(len(CROP_POSITIONS))]
    return row * ((height - crop_height) // 4), column * ((width - crop_width) // 4), crop_height, crop_width


# Every other point of a 5 x 5 grid over the frame: corners, centre, middles of the sides, and four points in between.
CROP_POSITIONS = tuple((row, column) for row in range(5) for column in range(5) if (row + column) % 2 == 0)


def training_clip(frames: torch.Tensor, recipe, rng: np.random.Generator) -> tuple[torch.Tensor, bool]:
    """The recipe's resize, random crop and random flip: frames [T, 3, H, W] -> (clip [T, 3, S, S], whether flipped).

    The whole clip gets one crop and one flip. MMAction2 resizes the short side before it crops; the official code does
    not. Both resize the crop to S x S.
    """
    if recipe.style == "mmaction2":
        frames = resize_short_side(frames, recipe.short_side, recipe.style)
    box = multi_scale_crop(*frames.shape[-2:], recipe.crop_size, recipe.crop_scales, rng)
    clip = _resize(_crop(frames, *box), (recipe.crop_size, recipe.crop_size), recipe.style)
    flipped = recipe.flip != "none" and bool(rng.random() < 0.5)
    if flipped:
        clip = clip.flip(-1)
    return clip.contiguous(), flipped


# Words of a name: "swipe_left", "Swipe-Left" and "SwipeLeft" have the same two. Capitals in a row are one word.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# "Pulling it right out", a class of Something-Something, has no direction.
_DIRECTION = re.compile(r"\b(left|right(?! out\b| away\b)|counterclockwise|clockwise)(wards?|most|hand|handed|side|)\b")
_OPPOSITE = {"left": "right", "right": "left", "counterclockwise": "clockwise", "clockwise": "counterclockwise"}


def mirrored_classes(names: list[str]) -> list[int]:
    """The class of each class's mirror image, as an index: the class whose name has the directions exchanged.

    The directions are left and right, also in "leftward" and the like, and clockwise and counterclockwise. A class
    without such a partner, or with two, is its own mirror image.

    >>> mirrored_classes(["Pushing from left to right", "Dropping", "Pushing from right to left"])
    [2, 1, 0]
    """
    keys = [_key(name) for name in names]
    index = {key: i for i, key in enumerate(keys) if keys.count(key) == 1}
    return [index.get(_mirrored(key), i) if key in index else i for i, key in enumerate(keys)]


def directed_classes(names: list[str], without_partner: bool = False) -> list[str]:
    """The names with a direction that a mirror exchanges; on request only those that have no mirrored class."""
    partners = mirrored_classes(names)
    directed = [(name, i) for i, name in enumerate(names) if _mirrored(_key(name)) != _key(name)]
    return [name for name, i in directed if not without_partner or partners[i] == i]


def _key(name: str) -> str:
    """The name in small letters, with one space between its words; "anti-clockwise" is "counterclockwise"."""
    spaced = _WORD.sub(lambda word: f" {word[0].lower()} ", name)
    words = " ".join(re.split(r"[\s_-]+", spaced.strip("_- \t")))
    return re.sub(r"\b(counter|anti) ?clockwise\b", "counterclockwise", words)


def _mirrored(key: str) -> str:
    return _DIRECTION.sub(lambda found: _OPPOSITE[found[1]] + found[2], key)


def center_crop(frames: torch.Tensor, size: int, style: str = "mmaction2") -> torch.Tensor:
    """The middle [..., 3, size, size]. MMAction2 floors half the margin, the official code rounds it to even.

    Raises ValueError if the frames are smaller than `size`.
    """
    _check_fits(frames, size)
    height, width = frames.shape[-2:]
    if style == "mmaction2":
        top, left = (height - size) // 2, (width - size) // 2
    else:
        top, left = round((height - size) / 2), round((width - size) / 2)
    return _crop(frames, top, left, size, size)


def three_crops(frames: torch.Tensor, size: int, style: str = "mmaction2") -> torch.Tensor:
    """Three square crops, [..., 3, H, W] -> [3, ..., 3, size, size]: left, right, middle.

    For portrait videos MMAction2 takes top, bottom and middle; the official code takes the middle three times. Raises
    ValueError if the frames are smaller than `size`.
    """
    _check_fits(frames, size)
    height, width = frames.shape[-2:]
    if style == "official":
        step_y, step_x = (height - size) // 4, (width - size) // 4
        corners = [(2 * step_y, 0), (2 * step_y, 4 * step_x), (2 * step_y, 2 * step_x)]
    elif width >= height:
        top, step = (height - size) // 2, (width - size) // 2
        corners = [(top, 0), (top, 2 * step), (top, step)]
    else:
        left, step = (width - size) // 2, (height - size) // 2
        corners = [(0, left), (2 * step, left), (step, left)]
    return torch.stack([_crop(frames, top, left, size, size) for top, left in corners])


def _crop(frames: torch.Tensor, top: int, left: int, height: int, width: int) -> torch.Tensor:
    """A view of the box, which lies within the frames."""
    return frames[..., top : top + height, left : left + width]


def _resize(frames: torch.Tensor, size: tuple[int, int], style: str) -> torch.Tensor:
    """Resizes to `size`, (height, width), by the library that the style's code base uses.

    No other library gives the same pixels. OpenCV computes in integers and truncates: torchvision's resize without
    antialias, which rounds, is brighter by an eighth of a grey level on average. Its resize with antialias differs from
    Pillow's by one grey level in some pixels.
    """
    if frames.shape[-2:] == size:
        return frames
    images = frames.reshape(-1, *frames.shape[-3:]).permute(0, 2, 3, 1).numpy()  # [n, H, W, 3]
    resized = np.empty((len(images), *size, 3), np.uint8)
    for image, target in zip(images, resized):
        if style == "mmaction2":
            cv2.resize(image, size[::-1], target, interpolation=cv2.INTER_LINEAR)
        else:
            target[:] = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
    return torch.from_numpy(resized).permute(0, 3, 1, 2).reshape(*frames.shape[:-2], *size)


def _check_fits(frames: torch.Tensor, size: int):
    if min(frames.shape[-2:]) < size:
        raise ValueError(f"a crop of {size} x {size} does not fit into frames of {tuple(frames.shape[-2:])}")

"""Pixels of a clip: resizing, training crops, flips with their label swap, test crops.

Frames are uint8 RGB [..., 3, H, W] and stay uint8: the model normalises on the device. Boxes are (top, left, height,
width). `style` is "mmaction2" or "official" where the two published code bases differ.
"""

import re

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

Box = tuple[int, int, int, int]


def resize_short_side(frames: torch.Tensor, size: int, style: str = "mmaction2") -> torch.Tensor:
    """Bilinear, aspect kept, short side `size` pixels.

    MMAction2 resizes as OpenCV does, without antialias, and rounds the long side; the official code as Pillow does,
    with antialias, and floors it.
    """
    height, width = frames.shape[-2:]
    if min(height, width) == size:
        return frames
    long = max(height, width) * size / min(height, width)
    long = int(long + 0.5) if style == "mmaction2" else int(long)
    return _resize(frames, (size, long) if height <= width else (long, size), style)


def multi_scale_crop(height: int, width: int, size: int, scales: tuple[float, ...], rng: np.random.Generator) -> Box:
    """A random training crop: sides are scales of the short side, at most one step apart, at one of 13 positions.

    A side within 2 pixels of `size` becomes `size` where the frame is that large, so that no resize is needed.
    """
    short = min(height, width)
    sides = [int(short * scale) for scale in scales]
    sides = [size if abs(side - size) <= 2 and size <= short else side for side in sides]
    levels = range(len(sides))
    pairs = [(sides[i], sides[j]) for i in levels for j in levels if abs(i - j) <= 1]
    crop_height, crop_width = pairs[rng.integers(len(pairs))]
    row, column = CROP_POSITIONS[rng.integers(len(CROP_POSITIONS))]
    return row * ((height - crop_height) // 4), column * ((width - crop_width) // 4), crop_height, crop_width


# On a 5 x 5 grid over the frame, every other point: corners, centre, middles of the sides, and the four in between.
CROP_POSITIONS = tuple((row, column) for row in range(5) for column in range(5) if (row + column) % 2 == 0)


def training_clip(frames: torch.Tensor, recipe, rng: np.random.Generator) -> tuple[torch.Tensor, bool]:
    """Decoded frames [T, 3, H, W] -> (clip [T, 3, S, S], flipped): the recipe's resize, random crop and flip.

    One crop and one flip for the whole clip. MMAction2 crops after resizing the short side, the official code before.
    """
    if recipe.style == "mmaction2":
        frames = resize_short_side(frames, recipe.short_side, recipe.style)
    box = multi_scale_crop(*frames.shape[-2:], recipe.crop_size, recipe.crop_scales, rng)
    clip = _resize(F.crop(frames, *box), (recipe.crop_size, recipe.crop_size), recipe.style)
    flipped = recipe.flip != "none" and bool(rng.random() < 0.5)
    return (clip.flip(-1) if flipped else clip).contiguous(), flipped


def mirrored_classes(names: list[str]) -> list[int]:
    """For each class the one its mirror image belongs to, derived from the names: left <-> right, else itself.

    >>> mirrored_classes(["Pushing from left to right", "Dropping", "Pushing from right to left"])
    [2, 1, 0]
    """
    other = {"left": "right", "Left": "Right", "LEFT": "RIGHT"}
    other |= {right: left for left, right in other.items()}
    index = {name: i for i, name in enumerate(names)}
    swapped = [re.sub(rf"\b({'|'.join(other)})\b", lambda match: other[match[0]], name) for name in names]
    return [index.get(mirror, i) for i, mirror in enumerate(swapped)]


def center_crop(frames: torch.Tensor, size: int, style: str = "mmaction2") -> torch.Tensor:
    """The middle [..., 3, size, size]; MMAction2 floors half the margin, the official code rounds it."""
    _check_fits(frames, size)
    margins = [side - size for side in frames.shape[-2:]]
    top, left = [m // 2 if style == "mmaction2" else round(m / 2) for m in margins]
    return F.crop(frames, top, left, size, size)


def three_crops(frames: torch.Tensor, size: int, style: str = "mmaction2") -> torch.Tensor:
    """[..., 3, H, W] -> [3, ..., 3, size, size]: left, right, middle.

    Of portrait videos MMAction2 takes top, bottom, middle, the official code three times the middle.
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
    return torch.stack([F.crop(frames, top, left, size, size) for top, left in corners])


def _resize(frames: torch.Tensor, size: tuple[int, int], style: str) -> torch.Tensor:
    if frames.shape[-2:] == size:
        return frames
    if style == "mmaction2":
        return F.resize(frames, list(size), InterpolationMode.BILINEAR, antialias=False)
    # Pillow itself: torchvision's antialiased resize differs from it by one grey level here and there.
    images = frames.reshape(-1, *frames.shape[-3:]).permute(0, 2, 3, 1).contiguous().numpy()  # [n, H, W, 3]
    resized = [np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)) for image in images]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).reshape(*frames.shape[:-2], *size)


def _check_fits(frames: torch.Tensor, size: int):
    if min(frames.shape[-2:]) < size:
        raise ValueError(f"a crop of {size} x {size} does not fit into frames of {tuple(frames.shape[-2:])}")

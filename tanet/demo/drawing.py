"""Draws the demo's clips: an object before a smooth background; one thing changes over time.

`draw_clip` draws a change from the first frame to the last. `draw_told_clip` draws a short movement, and a lamp that
says whether the movement counts as it is seen or the other way round.

T frames, H x W pixels.
"""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

SHAPES = ("disc", "square", "diamond", "ring")
OPACITY = 3  # its place in a state: x, y, size, opacity, cover
LAMPS = {True: (235, 40, 40), False: (40, 60, 235)}  # red: the other way round; blue: as it is seen
LAMP_LIGHT = 0.4  # share of the lamp's colour in a lit frame


@dataclass(frozen=True)
class Scene:
    """What is drawn at random for one clip. Lengths and positions are in units of the frame's short side."""

    background: np.ndarray  # [H, W, 3] float32, 0-255
    color: np.ndarray  # [3]
    cover_color: np.ndarray  # [3]
    shape: str
    start: np.ndarray  # x, y, size, opacity, cover at the clip's first frame
    stop: np.ndarray  # ... and at its last
    cover_from_left: bool
    easing: float


def draw_clip(
    change: str,
    backwards: bool,
    num_frames: int,
    size: tuple[int, int],
    rng,
    shape: str = "",
    color: tuple[int, int, int] | None = None,
    stripes: str = "",
) -> np.ndarray:
    """One clip -> uint8 RGB [T, H, W, 3]. `change` is x, y, size, opacity or cover; `size` is (width, height).

    `shape`: one of SHAPES or "cross"; by default a random one of SHAPES. `color`: RGB, 0-255, of the object, whose
    brightness stays random. `stripes`: "horizontal" or "vertical" ones on the background; none by default.
    The same generator state gives the same frames; `backwards` reverses their order.
    ValueError for another `change`.
    """
    scene = _random_scene(change, size, rng)
    scene = replace(scene, shape=shape or scene.shape, background=scene.background + _stripes(stripes, size))
    if color is not None:
        scene = replace(scene, color=np.asarray(color) / max(color) * scene.color.max())
    phase = np.linspace(0, 1, num_frames) ** scene.easing
    states = scene.start + phase[:, None] * (scene.stop - scene.start)  # [T, 5]
    frames = np.stack([_draw_frame(scene, state) for state in states])
    return frames[::-1].copy() if backwards else frames


def draw_told_clip(
    change: str, backwards: bool, reversed_by_lamp: bool, lamp: str, num_frames: int, size: tuple[int, int], rng
) -> np.ndarray:
    """One clip -> uint8 RGB [T, H, W, 3]: an object moves along x or y in the first quarter and is gone afterwards.

    A lamp lights the whole picture: red if the movement counts the other way round, blue if it counts as it is seen.
    `lamp`: "late", in the last twelfth of the clip; "near", while the object moves. The same generator state gives the
    same frames. `backwards` reverses the movement.
    """
    scene = _random_scene(change, size, rng)
    moving = num_frames // 4
    phase = np.linspace(0, 1, moving)[:: -1 if backwards else 1]
    states = np.repeat(scene.start[None], num_frames, 0)  # [T, 5]
    states[:moving] += phase[:, None] * (scene.stop - scene.start)
    states[moving:, OPACITY] = 0
    frames = np.stack([_draw_frame(scene, state) for state in states])
    lit = slice(moving) if lamp == "near" else slice(num_frames - num_frames // 12, None)
    light = np.asarray(LAMPS[reversed_by_lamp])
    frames[lit] = np.rint(frames[lit] + LAMP_LIGHT * (light - frames[lit]))
    return frames


def _stripes(direction: str, size: tuple[int, int]) -> np.ndarray:
    """What stripes add to a background: [H, W, 1]. Six of them fill the short side."""
    width, height = size
    ys, xs = np.mgrid[:height, :width]
    place = {"": 0 * xs, "horizontal": ys, "vertical": xs}[direction]
    return 25.0 * np.sign(np.sin(place * 12 * np.pi / min(size)))[..., None]


def _random_scene(change: str, size: tuple[int, int], rng) -> Scene:
    width, height = size
    short = min(size)
    coarse = rng.uniform(20, 90, 3) + rng.normal(0, 5, (3, 3, 3))  # a dark, smooth, coloured pattern
    image = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    background = np.asarray(image, np.float32)
    radius = rng.uniform(0.12, 0.2)
    middle = np.array([rng.uniform(0.3, 0.7) * width / short, rng.uniform(0.3, 0.7) * height / short, radius, 1, 0])
    drift = np.array([*rng.uniform(-0.02, 0.02, 2), 0, 0, 0])
    start, stop = middle - drift, middle + drift
    low, high = rng.uniform(0, 0.25), rng.uniform(0.75, 1)  # the change covers a random part of its range
    if change == "x":
        span = width / short
        start[0], stop[0] = span * (0.15 + 0.7 * low), span * (0.15 + 0.7 * high)
    elif change == "y":
        span = height / short
        start[1], stop[1] = span * (0.85 - 0.7 * low), span * (0.85 - 0.7 * high)
    elif change == "size":
        start[2], stop[2] = 0.06 + 0.24 * low, 0.06 + 0.24 * high
    elif change == "opacity":
        start[3], stop[3] = low, high
    elif change == "cover":
        start[4], stop[4] = 1 - low, 1 - high
    else:
        raise ValueError(f"change must be x, y, size, opacity or cover; got {change!r}")
    return Scene(
        background=background,
        color=_bright_color(rng),
        cover_color=_bright_color(rng),
        shape=SHAPES[rng.integers(len(SHAPES))],
        start=start,
        stop=stop,
        cover_from_left=bool(rng.integers(2)),
        easing=float(np.exp(rng.uniform(-0.3, 0.3))),
    )


def _bright_color(rng) -> np.ndarray:
    color = rng.uniform(0, 1, 3)
    return color / color.max() * rng.uniform(180, 255)


def _draw_frame(scene: Scene, state: np.ndarray) -> np.ndarray:
    x, y, radius, opacity, cover = state
    height, width = scene.background.shape[:2]
    short = min(height, width)
    ys, xs = np.mgrid[:height, :width].astype(np.float32)
    dx, dy, r = xs + 0.5 - x * short, ys + 0.5 - y * short, radius * short
    distance = _distance(scene.shape, dx, dy, r)
    frame = _blend(scene.background, scene.color, opacity * np.clip(0.5 - distance, 0, 1))
    if cover > 0:  # a vertical bar wider than the object, from beyond one side to the object's centre
        side = -1 if scene.cover_from_left else 1
        bar = np.abs(dx - side * (1 - cover) * 3 * r) - 1.3 * r
        frame = _blend(frame, scene.cover_color, np.clip(0.5 - bar, 0, 1))
    return np.rint(frame).clip(0, 255).astype(np.uint8)


def _distance(shape: str, dx: np.ndarray, dy: np.ndarray, radius: float) -> np.ndarray:
    """Pixels [H, W] from the shape's edge, negative inside; `dx` and `dy` are measured from its centre."""
    if shape == "disc":
        return np.hypot(dx, dy) - radius
    if shape == "square":
        return np.maximum(np.abs(dx), np.abs(dy)) - 0.85 * radius
    if shape == "diamond":
        return (np.abs(dx) + np.abs(dy)) * 0.75 - radius
    if shape == "cross":
        narrow, wide = np.minimum(np.abs(dx), np.abs(dy)), np.maximum(np.abs(dx), np.abs(dy))
        return np.maximum(narrow - 0.3 * radius, wide - radius)
    return np.abs(np.hypot(dx, dy) - 0.8 * radius) - 0.3 * radius  # ring


def _blend(image: np.ndarray, color: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return image + mask[..., None] * (color - image)

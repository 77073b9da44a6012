"""Which frames of a video make a clip.

All functions take the video's number of frames n (`total_frames`) and a clip's number of frames T (`num_frames`), and
return 0-based frame indices, int64 [clips, T]. They raise ValueError if n or T is less than 1.

`style` chooses between the two published code bases where they differ: "mmaction2" or "official" (the authors'
repository). Functions for training take the random generator, so their result is a function of its seed.
"""

import numpy as np

from tanet.recipes import STYLES, WINDOW


def dense_train(total_frames: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """One clip from a random window of 64 frames -> int64 [1, T]. A video shorter than the window is repeated.

    The last possible start is never drawn, as in both code bases.
    """
    _check(total_frames, num_frames)
    positions = max(1, total_frames - WINDOW + 1)
    start = 0 if positions == 1 else int(rng.integers(0, positions - 1))
    return _dense(np.array([start]), total_frames, num_frames)


def dense_clips(total_frames: int, num_frames: int, num_clips: int = 10, style: str = "mmaction2") -> np.ndarray:
    """Clips from `num_clips` evenly spaced windows of 64 frames, for testing -> int64 [num_clips, T].

    Both styles take the same frames.
    """
    _check(total_frames, num_frames, style)
    positions = max(1, total_frames - WINDOW + 1)
    starts = np.arange(num_clips) * (positions - 1) // max(1, num_clips - 1)
    return _dense(starts, total_frames, num_frames)


def dense_center(total_frames: int, num_frames: int) -> np.ndarray:
    """One clip from the middle window, for validation during training -> int64 [1, T]. The official code does this."""
    _check(total_frames, num_frames)
    positions = max(1, total_frames - WINDOW + 1)
    return _dense(np.array([positions // 2]), total_frames, num_frames)


def uniform_train(
    total_frames: int,
    num_frames: int,
    rng: np.random.Generator,
    style: str = "mmaction2",
    keep_tail: bool = False,
) -> np.ndarray:
    """One random frame from each of T segments -> int64 [1, T].

    Published code gives each segment n // T frames, so the last n mod T frames are never drawn. If the video has fewer
    frames than segments, MMAction2 spreads the frames over the segments, and the official code repeats the first frame.

    With `keep_tail` the segments share all frames: segment i goes from frame i n // T up to the frame before
    (i + 1) n // T. If the video has fewer frames than segments, segment i gives frame i n // T, so every frame is
    taken, in order. The style plays no part. Where T divides n, the draws are the same with and without `keep_tail`.
    """
    _check(total_frames, num_frames, style)
    if keep_tail:
        bounds = np.arange(num_frames + 1) * total_frames // num_frames
        lengths = np.maximum(np.diff(bounds), 1)  # without frames of its own, a segment gives the next one's first
        return (bounds[:-1] + rng.integers(0, lengths))[None]
    length = total_frames // num_frames
    segments = np.arange(num_frames)
    if length > 0:
        indices = segments * length + rng.integers(0, length, num_frames)
    elif style == "mmaction2":
        indices = np.rint(segments * (total_frames / num_frames)).astype(np.int64) % total_frames
    else:
        indices = np.zeros(num_frames, np.int64)
    return indices[None]


def uniform_frames(total_frames: int, num_frames: int, twice: bool = False, style: str = "mmaction2") -> np.ndarray:
    """One frame from each of T equal segments, for testing -> int64 [1, T], or [2, T] with `twice` ("accurate").

    Once: the middle frame of each segment, in both styles. Twice: MMAction2 adds a clip of each segment's first frame;
    the official code takes two clips of first frames, at two offsets.
    """
    _check(total_frames, num_frames, style)
    segments = np.arange(num_frames)
    first = segments * total_frames // num_frames
    middle = (2 * segments + 1) * total_frames // (2 * num_frames)
    if not twice:
        return middle[None]
    if style == "mmaction2":
        return np.stack([middle, first])
    # The official code starts at -1 for videos shorter than a clip, and truncates the sum towards zero.
    start = total_frames // num_frames - 1
    shifted = np.trunc(start + segments * (total_frames / num_frames)).astype(np.int64) % total_frames
    return np.stack([first, shifted])


def uniform_center(total_frames: int, num_frames: int, style: str = "mmaction2") -> np.ndarray:
    """One clip for validation during training -> int64 [1, T]: the same frames as `uniform_frames`.

    Exception: the official code repeats the first frame of a video that has at most T frames.
    """
    if style == "official" and total_frames <= num_frames:
        _check(total_frames, num_frames, style)
        return np.zeros((1, num_frames), np.int64)
    return uniform_frames(total_frames, num_frames, style=style)


def _dense(starts: np.ndarray, total_frames: int, num_frames: int) -> np.ndarray:
    stride = WINDOW // num_frames
    return (starts[:, None] + np.arange(num_frames) * stride) % total_frames


def _check(total_frames: int, num_frames: int, style: str = "mmaction2"):
    if total_frames < 1:
        raise ValueError(f"a clip needs at least 1 frame to choose from, the video has {total_frames}")
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, got {num_frames}")
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}; got {style!r}")

"""Videos of which training never draws some frames, because they are short: how many there are, and what helps.

Uniform training without `keep_tail` never draws the last n mod T of n frames. Dense training wraps around in videos
that are shorter than a clip, and takes the same few frames of them in every epoch.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tanet.data import sampling
from tanet.data.lists import STAT_THREADS, Sample
from tanet.data.probing import Packets
from tanet.data.video import open_video
from tanet.errors import VideoError
from tanet.recipes import WINDOW, Recipe

OPENED = 200  # videos of unknown length that are opened, at most, to count their frames

Lengths = Counter[int]  # {n: how many videos have n frames}


def undrawn_frames(samples: tuple[Sample, ...], recipe: Recipe) -> str:
    """A warning of one line about the frames of training videos that training never draws; "" if there is no need.

    It gives the shares of videos and of frames. Lengths come from stored probes and list files. Videos without either
    are opened, without decoding a frame. If they are more than OPENED, the shares are those of OPENED videos drawn at
    random, the same ones each time, and the line says so.
    """
    if recipe.sampling == "uniform" and recipe.keep_tail:
        return ""
    counted = samples
    if [_listed_length(sample) for sample in samples].count(None) > OPENED:
        drawn = np.random.default_rng(0).permutation(len(samples))[:OPENED]
        counted = [samples[index] for index in drawn]
    with ThreadPoolExecutor(STAT_THREADS) as pool:
        lengths = Counter(pool.map(_length, counted))
    for unknown in (None, 0):  # 0: frames that `lists` of data_scripts could not count
        lengths.pop(unknown, None)
    explain = _explain_dense if recipe.sampling == "dense" else _explain_uniform
    text = explain(lengths, recipe)
    if text and counted is not samples:
        text += f" (These are {lengths.total()} of the {len(samples)} videos, drawn at random.)"
    return text


def _explain_uniform(lengths: Lengths, recipe: Recipe) -> str:
    T = recipe.num_frames
    undrawn = {n: n - len(_drawn(n, recipe)) for n in lengths}
    cut = [n for n in lengths if undrawn[n]]
    if not cut:
        return ""
    share = sum(undrawn[n] * lengths[n] for n in cut) / sum(n * lengths[n] for n in lengths)
    text = f"warning: training never draws the last frames of {_share(cut, lengths)}, {share:.0%} of all frames"
    fixed = [n for n in cut if n < 2 * T]
    if fixed:
        text += f"; it takes the same {T} frames in every epoch from {_share(fixed, lengths)}, which have under {2 * T}"
    return f"{text}. Published code does the same. keep_tail=True (--set keep_tail=true) draws from all frames"


def _explain_dense(lengths: Lengths, recipe: Recipe) -> str:
    T, stride = recipe.num_frames, WINDOW // recipe.num_frames
    wrapped = [n for n in lengths if n <= (T - 1) * stride]
    if not wrapped:
        return ""
    frames = sum(n * lengths[n] for n in wrapped)
    share = 1 - sum(len(_drawn(n, recipe)) * lengths[n] for n in wrapped) / frames
    return (
        f"warning: {_share(wrapped, lengths)} are shorter than a clip of {T} frames {stride} apart, which goes on at "
        f"their start and is the same in every epoch; {share:.0%} of their frames are never drawn. Published code does "
        'the same. sampling="uniform", keep_tail=True (--set sampling=uniform --set keep_tail=true) draws from all '
        "frames, in their order"
    )


def _drawn(n: int, recipe: Recipe) -> np.ndarray:
    """The frames of a video of n that training can draw: for uniform sampling, or dense in a video without a choice."""
    T, rng = recipe.num_frames, np.random.default_rng(0)
    if recipe.sampling == "dense":
        return np.unique(sampling.dense_train(n, T, rng))
    if n < T:  # nothing is random here, either
        return np.unique(sampling.uniform_train(n, T, rng, recipe.style))
    return np.arange(n // T * T)


def _share(group: list[int], lengths: Lengths) -> str:
    videos = sum(lengths[n] for n in group)
    return f"{videos} of {lengths.total()} training videos ({videos / lengths.total():.0%})"


def _listed_length(sample: Sample) -> int | None:
    return sample.probe.frames if sample.probe else sample.num_frames


def _length(sample: Sample) -> int | None:
    """Number of frames; None if the video cannot be opened, which is for the training to report."""
    if (length := _listed_length(sample)) is not None:
        return length
    try:
        if sample.path.is_dir():
            return len(open_video(sample.path))
        packets = Packets(sample.path)
    except (VideoError, OSError):
        return None
    try:
        return len(packets.packet_of_frame)
    finally:
        packets.close()

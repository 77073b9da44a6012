"""A video and a network: what the network sees, computes and answers for each playback of the video.

    explorer = Explorer(Predictor("runs/mine/checkpoints/last.pth"), "clip.mp4")
    reading = explorer.read(explorer.normal.reversed())
    reading.prediction.top(3)

T frames of a clip, C channels of a block, K taps of its kernel, S x S pixels.
"""

import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from tanet.data import Sample, center_clip, center_view, frame_seconds, probe
from tanet.evaluate import average_views
from tanet.explore.playback import Playback
from tanet.prediction import Prediction, Predictor, find_videos

KEPT = 64  # readings that are kept: 80 MB of clips of 8 frames of 224 x 224


@dataclass(frozen=True, eq=False)
class Reading:
    """What a network sees and computes of a video that is played in one way. All tensors are on the CPU."""

    playback: Playback
    clip: torch.Tensor  # uint8 [T, 3, S, S]
    maps: dict[str, torch.Tensor]  # {block: importance map V, float32 [C, T]}
    kernels: dict[str, torch.Tensor]  # {block: aggregation kernel W, float32 [C, K]}
    over_time: torch.Tensor  # float32 [T, classes]: the probabilities by the scores of each single frame
    prediction: Prediction  # of the clip, with the frames and seconds that are at its places


class Explorer:
    """The clip in the middle of a video, as validation takes it, ready to be played to a network in other ways.

    `video`: a file or a folder of frames. Only frames that a playback needs are decoded, each of them once, and a
    playback that came before is not computed again.

    Raises FileNotFoundError, DataError or VideoError for a video that cannot be read, ValueError for a folder of
    several videos and for a network without TAM.
    """

    def __init__(self, predictor: Predictor, video: str | os.PathLike):
        self.predictor, self.recipe = predictor, predictor.recipe
        if self.recipe.temporal != "tam":
            raise ValueError(f"a network with temporal={self.recipe.temporal!r} has no importance maps to explore")
        videos = find_videos([video])
        if len(videos) > 1:
            raise ValueError(f"{video}: {len(videos)} videos; explore one of them")
        self.path = videos[0]
        self._sample = Sample(self.path, None, probe(self.path) if self.path.is_file() else None)
        with self._sample.open() as opened:
            self.total_frames = len(opened)
            self._seconds = frame_seconds(opened, np.arange(len(opened)))
        self._base = center_clip(self.total_frames, self.recipe)  # int64 [T]
        self._pictures: dict[int, torch.Tensor] = {}  # frame of the video -> uint8 [3, S, S]
        self._model = predictor.model.to("cuda" if predictor.use_gpu else "cpu")
        self.read = lru_cache(KEPT)(self._read)
        self.original = self.read(self.normal)

    @property
    def normal(self) -> Playback:
        """The video as it is."""
        return Playback.normal(self.recipe.num_frames)

    @property
    def blocks(self) -> tuple[str, ...]:
        """The blocks of the network that have TAM: "layer1.0", ..."""
        return tuple(self.original.maps)

    def channels_by_peak(self, block: str) -> list[int]:
        """The channels of a block, sorted by the frame of the video as it is at which their importance peaks."""
        return self.original.maps[block].argmax(1).argsort(stable=True).tolist()

    def liveliest_channel(self, block: str) -> int:
        """The channel of a block whose importance changes most over the video as it is."""
        V = self.original.maps[block]
        return int((V.amax(1) - V.amin(1)).argmax())

    def _read(self, playback: Playback) -> Reading:
        """What the network sees and computes for a playback. VideoError if a frame cannot be decoded."""
        frames = playback.frames(self._base, self.total_frames)
        clip = self._clip(frames)
        maps, scores = _forward(self._model, clip)  # scores: [T, classes]
        probabilities = average_views(scores.mean(0)[None], self.recipe.style).numpy()
        prediction = Prediction(
            path=str(self.path),
            probabilities=probabilities,
            clips=probabilities[None],
            frames=frames[None],
            seconds=self._seconds[frames][None],
            class_names=self.predictor.class_names,
        )
        return Reading(
            playback=playback,
            clip=clip,
            maps={block: V[0].cpu() for block, (V, _) in maps.items()},
            kernels={block: W[0].cpu() for block, (_, W) in maps.items()},
            over_time=scores.softmax(1),
            prediction=prediction,
        )

    def _clip(self, frames: np.ndarray) -> torch.Tensor:
        """Frames of the video, int64 [T] -> their centre crops, uint8 [T, 3, S, S]."""
        missing = sorted(set(frames.tolist()) - self._pictures.keys())
        if missing:
            with self._sample.open() as video:
                pictures = center_view(video.frames(missing), self.recipe)
            self._pictures.update(zip(missing, pictures))
        return torch.stack([self._pictures[frame] for frame in frames.tolist()])


def _forward(model, clip: torch.Tensor) -> tuple[dict[str, tuple[torch.Tensor, torch.Tensor]], torch.Tensor]:
    """The maps of one clip, and the scores of each of its frames, float32 [T, classes], by one pass of the network."""
    scores = []
    hook = model.fc.register_forward_hook(lambda module, inputs, output: scores.append(output))
    try:
        maps = model.temporal_maps(clip[None].to(model.fc.weight.device))
    finally:
        hook.remove()
    return maps, scores[0].float().cpu()

"""At which speed, and in which order, the frames of a video are played to a network.

played = Playback.normal(8).at_speed(0.5).reversed()
played.frames(base, total_frames)  # int64 [8], in the place of the frames `base` that a clip takes otherwise
"""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Playback:
    """A clip has T places; `order` says which of its T frames stands at each place. Every method returns a new one.

    Places and frames count from 0. ValueError for an order that names other frames, a speed that is not above 0, and a
    place that the clip does not have.
    """

    order: tuple[int, ...]
    speed: float = 1.0  # 1: the clip as validation takes it; 1/2: the same number of frames from half the time

    def __post_init__(self):
        if not self.order or min(self.order) < 0 or max(self.order) >= len(self.order):
            raise ValueError(f"an order of {len(self.order)} places needs frames from 0 to one less, got {self.order}")
        if not self.speed > 0:
            raise ValueError(f"speed must be above 0, got {self.speed}")

    @classmethod
    def normal(cls, num_frames: int) -> "Playback":
        """T frames as they are."""
        return cls(tuple(range(num_frames)))

    def at_speed(self, speed: float) -> "Playback":
        """The same order at another speed."""
        return replace(self, speed=speed)

    def reversed(self) -> "Playback":
        """Backwards."""
        return replace(self, order=self.order[::-1])

    def frozen(self, place: int) -> "Playback":
        """The frame at `place`, at every place: nothing moves."""
        self._check(place)
        return replace(self, order=(self.order[place],) * len(self.order))

    def dropped(self, place: int) -> "Playback":
        """Without the frame at `place`: the one before stays in its place, as in a stream that lost a frame.

        In the first place it is the one after.
        """
        self._check(place)
        order = list(self.order)
        order[place] = order[place - 1] if place > 0 else order[min(1, len(order) - 1)]
        return replace(self, order=tuple(order))

    def shuffled(self, seed: int) -> "Playback":
        """The same frames in a random order; the same seed gives the same order."""
        order = np.random.default_rng(seed).permutation(self.order)
        return replace(self, order=tuple(order.tolist()))

    def frames(self, base: np.ndarray, total_frames: int) -> np.ndarray:
        """Frames of the video at each place, int64 [T]; `base`, int64 [T], are those of the clip as it is.

        Another speed moves them towards the middle of the clip, or away from it. Before its first frame and after its
        last one a video stands still.
        """
        middle = base.mean()
        spread = np.rint(middle + self.speed * (base - middle)).astype(np.int64)
        return spread.clip(0, total_frames - 1)[list(self.order)]

    def __str__(self) -> str:
        """Order and speed in words."""
        normal = tuple(range(len(self.order)))
        if self.order == normal:
            order = "as it is"
        elif self.order == normal[::-1]:
            order = "reversed"
        elif len(set(self.order)) == 1:
            order = f"frozen at frame {self.order[0]}"
        else:
            order = f"frames in the order {' '.join(map(str, self.order))}"
        return order if self.speed == 1 else f"{order}, speed {self.speed:g}"

    def _check(self, place: int) -> None:
        if not 0 <= place < len(self.order):
            raise ValueError(f"a clip of {len(self.order)} frames has places 0 to {len(self.order) - 1}, got {place}")

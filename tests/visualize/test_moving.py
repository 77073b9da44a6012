import io

import numpy as np
import torch
from PIL import Image

from tanet.visualize import moving_picture


def test_a_moving_picture_shows_every_frame_of_every_clip_and_waits_at_the_end():
    clip = torch.zeros(4, 3, 6, 8, dtype=torch.uint8)
    for t in range(4):
        clip[t, :, :, 2 * t] = 255  # a line that moves to the right
    picture = Image.open(io.BytesIO(moving_picture({"right": clip, "left": clip[:3].flip(0)}, pixels=12, rate=4)))
    assert picture.n_frames == 4 and picture.size == (16 + 6 + 16, 12) and picture.info["loop"] == 0
    places, times = [], []
    for t in range(4):
        picture.seek(t)
        times.append(picture.info["duration"])
        row = np.asarray(picture.convert("L"))[6]
        places.append((int(row[:16].argmax()) // 2, int(row[22:].argmax()) // 2))
    assert places == [(0, 4), (2, 2), (4, 0), (6, 0)]  # the shorter one waits at its last frame
    assert times == [250, 250, 250, 750]

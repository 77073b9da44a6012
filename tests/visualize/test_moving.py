import io

import numpy as np
import torch
from PIL import Image

from tanet.visualize import moving_maps, moving_picture


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


def red_columns(picture):
    """Of each page, the columns of pixels that hold red."""
    for page in range(picture.n_frames):
        picture.seek(page)
        red, green, blue = np.asarray(picture.convert("RGB")).astype(int).transpose(2, 0, 1)
        yield ((red > 180) & (green < 90) & (blue < 90)).sum(0).nonzero()[0]


def test_beside_a_clip_a_frame_walks_over_the_columns_of_its_map():
    clip = torch.full((4, 3, 8, 8), 128, dtype=torch.uint8)
    rows = [("forwards", clip, {"layer1": torch.rand(5, 4), "layer2": torch.rand(3, 4)})]
    picture = Image.open(io.BytesIO(moving_maps(rows)))
    assert picture.n_frames == 4 and picture.info["loop"] == 0
    places = [columns[0] for columns in red_columns(picture)]
    steps = np.diff(places)
    assert steps.min() > 0.8 * steps.max() > 0  # a column further each time

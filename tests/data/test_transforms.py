"""Resizes, crops and flips: against OpenCV, Pillow and the published positions; mirrored classes."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from support.paths import GOLD

from tanet import recipes
from tanet.data import (
    directed_classes,
    mirrored_classes,
    multi_scale_crop,
    open_video,
    resize_short_side,
    three_crops,
    training_clip,
    transforms,
)

SCALES = (1.0, 0.875, 0.75, 0.66)


def picture(height, width, seed=0) -> torch.Tensor:
    """A smooth, coloured picture uint8 [3, H, W] with a little noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(coarse).astype(int) + rng.integers(-6, 7, (height, width, 3))
    return torch.from_numpy(noisy.clip(0, 255).astype(np.uint8)).permute(2, 0, 1)


def positions(height, width) -> torch.Tensor:
    """A picture whose first channel is the row and second the column, so that a crop tells where it was taken."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns, rows]).to(torch.int16)


def corner(crop) -> tuple[int, int]:
    return crop[0, 0, 0].item(), crop[1, 0, 0].item()


def boxes(height, width, size=224, scales=SCALES, draws=4000):
    rng = np.random.default_rng(0)
    return {multi_scale_crop(height, width, size, scales, rng) for _ in range(draws)}


@pytest.mark.parametrize(
    "height, width, style, expected",
    [
        (100, 176, "mmaction2", (256, 451)),
        (100, 176, "official", (256, 450)),
        (176, 100, "mmaction2", (451, 256)),
        (176, 100, "official", (450, 256)),
        (240, 320, "mmaction2", (256, 341)),
        (320, 320, "official", (256, 256)),
        (256, 500, "mmaction2", (256, 500)),
    ],
)
def test_scaled_sizes(height, width, style, expected):
    assert resize_short_side(picture(height, width)[None], 256, style).shape == (1, 3, *expected)


@pytest.fixture(scope="module")
def decoded(kinetics_root, something_root) -> list[torch.Tensor]:
    """Decoded frames [3, H, W] of JPEG folders and H.264 files, one of each size."""
    frames = {}
    for path in [*something_root.rglob("00001.jpg"), *kinetics_root.rglob("*.mp4")]:
        with open_video(path.parent if path.suffix == ".jpg" else path) as video:
            frame = video.frames([len(video) // 2])[0]
        frames.setdefault((path.suffix, frame.shape), frame)
    assert len(frames) >= 6
    return list(frames.values())


SIZES = (256, 56, 224)  # of short sides. Decoded frames have 60 to 100, so they are both enlarged and reduced


@pytest.mark.parametrize("size", SIZES)
def test_official_resize_is_pillows_to_the_byte(decoded, size):
    for frame in [*decoded, picture(320, 426), picture(400, 300)]:
        got = resize_short_side(frame, size, "official")
        image = Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy())
        expected = image.resize(got.shape[:0:-1], Image.Resampling.BILINEAR)
        assert np.array_equal(got.permute(1, 2, 0), np.asarray(expected))


@pytest.mark.parametrize("size", SIZES)
def test_mmaction2_resize_is_opencvs_to_the_byte(decoded, size):
    for frame in [*decoded, picture(320, 426), picture(400, 300)]:
        got = resize_short_side(frame, size, "mmaction2").permute(1, 2, 0).numpy()
        image = np.ascontiguousarray(frame.permute(1, 2, 0).numpy())
        assert np.array_equal(got, cv2.resize(image, got.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def opencv_taps(old, new) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along one axis of `old` pixels, for each of `new` pixels: the pixel before its centre, and both weights x 2048.

    The pixel before may be -1, and the one after may be `old`: outside the picture.
    """
    centres = ((np.arange(new) + 0.5) * old / new - 0.5).astype(np.float32)
    before = np.floor(centres)
    fraction = centres - before
    weights = [np.rint(weight * np.float32(2048)).astype(np.int32) for weight in (1 - fraction, fraction)]
    return before.astype(np.int32), *weights


def opencv_bilinear(image, height, width) -> np.ndarray:
    """OpenCV's bilinear resize of 8-bit pictures [H, W, 3], written out: integers, weights of 11 bits, truncated."""
    old_height, old_width = image.shape[:2]
    left, left_weight, right_weight = opencv_taps(old_width, width)
    outside = (left < 0) | (
        left >= old_width - 1
    )  # at the borders the pixel itself; down the columns, this is not done
    left_weight[outside], right_weight[outside] = 2048, 0
    left, right = left.clip(0, old_width - 1), (left + 1).clip(0, old_width - 1)
    rows = image[:, left] * left_weight[:, None] + image[:, right] * right_weight[:, None]  # [H, width, 3], x 2^11
    top, top_weight, bottom_weight = opencv_taps(old_height, height)
    rows = rows >> 4
    tops = (top_weight[:, None, None] * rows[top.clip(0, old_height - 1)]) >> 16  # x 4
    bottoms = (bottom_weight[:, None, None] * rows[(top + 1).clip(0, old_height - 1)]) >> 16
    return ((tops + bottoms + 2) >> 2).astype(np.uint8)


def test_mmaction2_resize_follows_opencvs_written_arithmetic():
    """Sizes drawn at random, and those that OpenCV may treat apart: halves, doubles, one side unchanged, few pixels."""
    rng = np.random.default_rng(0)
    sizes = [((64, 90), (32, 45)), ((32, 45), (64, 90)), ((64, 90), (64, 30)), ((64, 90), (16, 90)), ((3, 5), (2, 7))]
    sizes += [((100, 176), (256, 451)), ((720, 1280), (256, 455))]
    sizes += [(rng.integers(2, 320, 2).tolist(), rng.integers(2, 320, 2).tolist()) for _ in range(200)]
    for (height, width), new_size in sizes:
        frames = rng.integers(0, 256, (1, height, width, 3), np.uint8)
        got = transforms._resize(torch.from_numpy(frames).permute(0, 3, 1, 2), tuple(new_size), "mmaction2")
        expected = opencv_bilinear(frames[0].astype(np.int32), *new_size)
        assert np.array_equal(got[0].permute(1, 2, 0), expected), ((height, width), new_size)


def test_the_two_resizes_differ_where_frames_shrink():
    frame = picture(320, 320)
    one, other = (resize_short_side(frame, 56, style).int() for style in ("mmaction2", "official"))
    assert (one - other).abs().float().mean() > 0.5


def test_a_clip_is_resized_like_its_single_frames(decoded):
    clips = decoded[0].expand(2, 3, -1, -1, -1)
    for style in ("mmaction2", "official"):
        resized = resize_short_side(clips, 64, style)
        assert resized.shape[:3] == (2, 3, 3) and torch.equal(resized[1, 2], resize_short_side(decoded[0], 64, style))


def test_crop_sizes_are_the_10_published_pairs():
    """Sides are floor(short side x scale); two neighbouring scales make a pair; 222..226 becomes 224."""
    sides = [256, 224, 192, 168]
    expected = {(sides[i], sides[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1}
    assert len(expected) == 10
    assert {box[2:] for box in boxes(256, 340)} == expected


@pytest.mark.parametrize("short, snapped", [(254, True), (258, True), (257, True), (253, False), (260, False)])
def test_a_side_within_2_pixels_of_the_size_becomes_the_size(short, snapped):
    heights = {box[2] for box in boxes(short, 400, scales=(0.875,))}
    assert int(short * 0.875) != 224 or short == 257
    assert heights == {224 if snapped else int(short * 0.875)}


def test_crops_have_13_positions():
    corners = {box[:2] for box in boxes(256, 340, scales=(0.66,))}
    step_y, step_x = (256 - 168) // 4, (340 - 168) // 4
    grid = {(0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (0, 2), (4, 2), (2, 0), (2, 4), (1, 1), (1, 3), (3, 1), (3, 3)}
    assert corners == {(y * step_y, x * step_x) for y, x in grid}


@pytest.mark.parametrize("height, width", [(256, 340), (340, 256), (100, 176), (225, 300), (222, 300), (240, 222)])
def test_crops_lie_inside_the_frame(height, width):
    for top, left, crop_height, crop_width in boxes(height, width, draws=1500):
        assert top >= 0 and left >= 0
        assert top + crop_height <= height and left + crop_width <= width


def test_all_crops_are_equally_likely():
    rng = np.random.default_rng(0)
    drawn = [multi_scale_crop(256, 340, 224, (1.0, 0.66), rng) for _ in range(8000)]
    by_size = [sum(box[2:] == size for box in drawn) / 8000 for size in {box[2:] for box in drawn}]
    assert len(by_size) == 4 and all(abs(share - 1 / 4) < 0.03 for share in by_size)


LANDSCAPE, PORTRAIT = (256, 341), (341, 256)


@pytest.mark.parametrize(
    "style, shape, expected",
    [
        ("mmaction2", LANDSCAPE, [(0, 0), (0, 84), (0, 42)]),
        ("mmaction2", PORTRAIT, [(0, 0), (84, 0), (42, 0)]),
        ("official", LANDSCAPE, [(0, 0), (0, 84), (0, 42)]),
        ("official", PORTRAIT, [(42, 0)] * 3),
        ("mmaction2", (256, 346), [(0, 0), (0, 90), (0, 45)]),
        ("official", (256, 346), [(0, 0), (0, 88), (0, 44)]),
        ("mmaction2", (256, 256), [(0, 0)] * 3),
    ],
)
def test_three_crops_are_left_right_middle(style, shape, expected):
    crops = three_crops(positions(*shape), 256, style)
    assert crops.shape == (3, 3, 256, 256)
    assert [corner(crop) for crop in crops] == expected


def test_the_first_axis_of_three_crops_is_the_crop():
    crops = three_crops(positions(256, 341).expand(2, 8, -1, -1, -1), 256)
    assert crops.shape == (3, 2, 8, 3, 256, 256)
    assert [corner(crop[1, 5]) for crop in crops] == [(0, 0), (0, 84), (0, 42)]


@pytest.mark.parametrize(
    "style, shape, expected",
    [
        ("mmaction2", (256, 341), (16, 58)),  # 117 / 2 floored
        ("official", (256, 341), (16, 58)),  # rounded half to even
        ("mmaction2", (256, 343), (16, 59)),
        ("official", (256, 343), (16, 60)),
        ("mmaction2", (224, 224), (0, 0)),
    ],
)
def test_centre_crop(style, shape, expected):
    crop = transforms.center_crop(positions(*shape), 224, style)
    assert crop.shape == (3, 224, 224) and corner(crop) == expected


@pytest.mark.parametrize("crop", [three_crops, transforms.center_crop])
def test_frames_smaller_than_the_crop_are_refused(crop):
    with pytest.raises(ValueError, match=r"256 x 256 does not fit into frames of \(255, 400\)"):
        crop(positions(255, 400), 256)


@pytest.fixture
def recipe():
    return recipes.get("demo_kinetics")


@pytest.mark.parametrize("style", ["mmaction2", "official"])
@pytest.mark.parametrize("shape", [(60, 80), (90, 60), (100, 176)])
def test_training_clips_have_the_crop_size_and_are_contiguous_uint8(recipe, style, shape):
    recipe = recipes.in_style(recipe, style)
    frames = picture(*shape).expand(8, -1, -1, -1)
    for seed in range(10):
        clip, _ = training_clip(frames, recipe, np.random.default_rng(seed))
        assert clip.shape == (8, 3, 48, 48) and clip.dtype == torch.uint8 and clip.is_contiguous()


def test_all_frames_of_a_clip_get_the_same_crop_and_flip(recipe):
    frames = picture(60, 80).expand(8, -1, -1, -1)
    for seed in range(10):
        clip, _ = training_clip(frames, recipe, np.random.default_rng(seed))
        assert all(torch.equal(frame, clip[0]) for frame in clip)


def test_half_of_the_clips_are_flipped_and_reported_as_flipped(recipe):
    frames = picture(60, 80).expand(8, -1, -1, -1)
    flips = 0
    for seed in range(200):
        clip, flipped = training_clip(frames, recipe, np.random.default_rng(seed))
        plain, _ = training_clip(frames, recipe.with_changes({"flip": "none"}), np.random.default_rng(seed))
        assert torch.equal(clip, plain.flip(-1) if flipped else plain)
        flips += flipped
    assert 75 < flips < 125


def test_flip_none_never_flips(recipe):
    recipe = recipe.with_changes({"flip": "none"})
    frames = picture(60, 80).expand(8, -1, -1, -1)
    assert not any(training_clip(frames, recipe, np.random.default_rng(seed))[1] for seed in range(20))


def test_mirrored_classes_of_something_something_v1():
    names = (GOLD / "sthv1_labels.txt").read_text().splitlines()
    mirrored = mirrored_classes(names)
    assert len(names) == 174
    assert {i: j for i, j in enumerate(mirrored) if i != j} == {2: 4, 4: 2, 30: 41, 41: 30, 52: 66, 66: 52}


@pytest.mark.parametrize(
    "names, expected",
    [
        (["Left turn", "Right turn"], [1, 0]),
        (["Moving to the left of something", "Moving to the right of something"], [1, 0]),
        (["turning left"], [0]),  # no class "turning right"
        (["leftovers", "rightovers", "upright", "brightly"], [0, 1, 2, 3]),
        (["TURN LEFT", "TURN RIGHT"], [1, 0]),
        (["swipe_left", "wave", "swipe_right"], [2, 1, 0]),
        (["swipe-left", "swipe-right"], [1, 0]),
        (["SwipeLeft", "SwipeRight"], [1, 0]),
        (["turnLeft", "turnRIGHT"], [1, 0]),
        (["RGBLeft", "RGBRight"], [1, 0]),
        (["LEFT_HOOK", "right hook"], [1, 0]),
        (["Left2Right", "Right2Left"], [1, 0]),
        (["walking leftward", "walking rightward"], [1, 0]),
        (["leftwards", "rightwards", "leftmost", "rightmost"], [1, 0, 3, 2]),
        (["left-handed serve", "RightHanded serve"], [1, 0]),
        (["camera 1 left", "camera 2 left", "camera 1 right", "camera 2 right"], [2, 3, 0, 1]),
        (["Turning Hand Clockwise", "Turning Hand Counterclockwise"], [1, 0]),
        (["turn_anti-clockwise", "turn_clockwise"], [1, 0]),
        (["spin counter clockwise", "spin clockwise"], [1, 0]),
        (["left turn", "Left-Turn", "right turn"], [0, 1, 2]),  # two partners are none
        (["waving the left and the right hand"], [0]),
        ([], []),
    ],
)
def test_mirrored_classes_follow_from_the_directions_in_the_names(names, expected):
    assert mirrored_classes(names) == expected


def test_classes_with_a_direction_are_listed_all_or_those_without_a_partner():
    names = ["swipe_left", "swipe_right", "wave", "SlideRight", "brightly", "turn clockwise"]
    assert directed_classes(names) == ["swipe_left", "swipe_right", "SlideRight", "turn clockwise"]
    assert directed_classes(names, without_partner=True) == ["SlideRight", "turn clockwise"]
    assert directed_classes((GOLD / "sthv1_labels.txt").read_text().splitlines(), without_partner=True) == []

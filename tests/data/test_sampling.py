"""Frame indices of clips: the published tables, the properties of random clips, and bad arguments."""

import json

import numpy as np
import pytest
from support.paths import GOLD

from tanet.data import sampling
from tanet.recipes import STYLES

TABLES = {int(n): table for n, table in json.loads((GOLD / "indices.json").read_text()).items()}
SAMPLERS = {
    "mmaction2_dense_8": lambda n: sampling.dense_clips(n, 8),
    "mmaction2_uniform_8": lambda n: sampling.uniform_frames(n, 8),
    "mmaction2_uniform_8_twice": lambda n: sampling.uniform_frames(n, 8, twice=True),
    "official_dense-10_8": lambda n: sampling.dense_clips(n, 8, num_clips=10, style="official"),
    "official_uniform-1_8": lambda n: sampling.uniform_frames(n, 8, style="official"),
    "official_uniform-2_8": lambda n: sampling.uniform_frames(n, 8, twice=True, style="official"),
    "official_val_uniform_8": lambda n: sampling.uniform_center(n, 8, style="official"),
}
TEST_SAMPLERS = [
    lambda n, t: sampling.dense_clips(n, t),
    lambda n, t: sampling.dense_center(n, t),
    lambda n, t: sampling.uniform_center(n, t),
    lambda n, t: sampling.uniform_center(n, t, style="official"),
    lambda n, t: sampling.uniform_frames(n, t, twice=True),
    lambda n, t: sampling.uniform_frames(n, t, twice=True, style="official"),
]
TRAIN_SAMPLERS = {
    "dense": sampling.dense_train,
    "uniform": sampling.uniform_train,
    "uniform official": lambda n, t, rng: sampling.uniform_train(n, t, rng, "official"),
    "uniform to the last frame": lambda n, t, rng: sampling.uniform_train(n, t, rng, keep_tail=True),
}


def draws(sampler, total_frames, num_frames=8, times=300):
    rng = np.random.default_rng(0)
    return np.concatenate([TRAIN_SAMPLERS[sampler](total_frames, num_frames, rng) for _ in range(times)])


@pytest.mark.parametrize("name", SAMPLERS)
def test_indices_are_those_of_the_published_tables(name):
    rows = {n: table[name] for n, table in TABLES.items() if name in table}
    assert len(rows) >= 39
    for n, expected in rows.items():
        assert SAMPLERS[name](n).ravel().tolist() == expected, n


def test_every_published_table_is_compared():
    assert {name for table in TABLES.values() for name in table} == set(SAMPLERS)


@pytest.mark.parametrize("sampler", TEST_SAMPLERS)
@pytest.mark.parametrize("num_frames", [1, 8, 16])
def test_indices_lie_in_the_video_whatever_its_length(sampler, num_frames):
    for n in (*range(1, 140), 1000):
        indices = sampler(n, num_frames)
        assert indices.ndim == 2 and indices.shape[1] == num_frames and indices.dtype == np.int64
        assert 0 <= indices.min() and indices.max() < n


def test_16_frame_dense_clips_are_4_frames_apart_and_span_the_video():
    clips = sampling.dense_clips(300, 16)
    assert clips.shape == (10, 16)
    assert (np.diff(clips, axis=1) == 4).all()
    assert clips[0, 0] == 0 and clips[-1, 0] == 300 - 64


def test_one_dense_clip_starts_at_the_first_frame():
    assert sampling.dense_clips(300, 8, num_clips=1)[0, 0] == 0


@pytest.mark.parametrize("n, start", [(64, 0), (65, 1), (100, 18), (300, 118)])
def test_dense_center_is_the_middle_window(n, start):
    assert sampling.dense_center(n, 8).tolist() == [[(start + 8 * i) % n for i in range(8)]]


@pytest.mark.parametrize("n", range(9, 60))
def test_both_styles_validate_videos_longer_than_a_clip_with_the_same_frames(n):
    assert np.array_equal(sampling.uniform_center(n, 8), sampling.uniform_center(n, 8, style="official"))


@pytest.mark.parametrize("n, starts", [(66, {0, 1}), (70, set(range(6))), (65, {0})])
def test_dense_training_draws_every_start_but_the_last(n, starts):
    clips = draws("dense", n)
    assert set(clips[:, 0].tolist()) == starts  # the window could also start at n - 64
    assert ((clips[:, 1:] - clips[:, :-1]) % n == 8).all()


@pytest.mark.parametrize("n", [1, 7, 30, 64])
def test_dense_training_wraps_around_in_short_videos(n):
    assert (draws("dense", n, times=5) == (np.arange(8) * 8) % n).all()


@pytest.mark.parametrize("style", ["uniform", "uniform official"])
@pytest.mark.parametrize("n", [8, 9, 15, 16, 43])
def test_uniform_training_draws_each_frame_of_each_segment_independently(style, n):
    clips, length = draws(style, n, times=600), n // 8
    for segment in range(8):
        assert set(clips[:, segment].tolist()) == set(range(segment * length, (segment + 1) * length))
    if length > 1:
        assert len(set(np.diff(clips % length, axis=1).ravel().tolist())) > 1


@pytest.mark.parametrize("n, expected", [(1, [0] * 8), (3, [0, 0, 1, 1, 2, 2, 2, 0]), (4, [0, 0, 1, 2, 2, 2, 3, 0])])
def test_uniform_training_spreads_too_few_frames_as_mmaction2_does(n, expected):
    """round-half-even(i n / T) mod n: n = 4 gives 0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5."""
    assert (draws("uniform", n, times=5) == expected).all()


@pytest.mark.parametrize("n", [1, 4, 7])
def test_uniform_training_repeats_the_first_frame_as_the_official_code_does(n):
    assert (draws("uniform official", n, times=5) == 0).all()


@pytest.mark.parametrize("n, num_frames", [(8, 8), (9, 8), (12, 8), (15, 8), (20, 8), (27, 8), (43, 16), (1000, 128)])
def test_with_keep_tail_each_frame_belongs_to_one_segment_and_is_drawn(n, num_frames):
    """Segment i: the frames from i n // T up to the one before (i + 1) n // T."""
    clips = draws("uniform to the last frame", n, num_frames, times=400)
    bounds = [i * n // num_frames for i in range(num_frames + 1)]
    assert bounds[0] == 0 and bounds[-1] == n
    for segment, (first, end) in enumerate(zip(bounds, bounds[1:])):
        assert set(clips[:, segment].tolist()) == set(range(first, end))
    assert (np.diff(clips, axis=1) > 0).all()


@pytest.mark.parametrize("n, expected", [(1, [0] * 8), (3, [0, 0, 0, 1, 1, 1, 2, 2]), (7, [0, 0, 1, 2, 3, 4, 5, 6])])
def test_with_keep_tail_too_few_frames_are_all_taken_in_order(n, expected):
    assert (draws("uniform to the last frame", n, times=5) == expected).all()


def test_keep_tail_ignores_the_style():
    for n in (3, 12, 40):
        clips = [sampling.uniform_train(n, 8, np.random.default_rng(0), style, keep_tail=True) for style in STYLES]
        assert np.array_equal(*clips)


@pytest.mark.parametrize("num_frames", [1, 7, 8, 16])
@pytest.mark.parametrize("length", [1, 2, 3, 5, 100])
def test_keep_tail_changes_nothing_where_the_segments_are_equal(num_frames, length):
    """Neither the frames nor the generator's state, from which the crops are drawn next."""
    for seed in range(50):
        generators = [np.random.default_rng(seed) for _ in range(2)]
        clips = [
            sampling.uniform_train(num_frames * length, num_frames, rng, keep_tail=keep_tail)
            for rng, keep_tail in zip(generators, (False, True))
        ]
        assert np.array_equal(*clips)
        assert generators[0].bit_generator.state == generators[1].bit_generator.state


@pytest.mark.parametrize("n", range(9, 16))
def test_validation_and_test_look_at_the_last_frame_of_short_videos_which_only_keep_tail_draws(n):
    for style in STYLES:
        assert sampling.uniform_center(n, 8, style).max() == sampling.uniform_frames(n, 8, style=style).max() == n - 1
    assert draws("uniform", n, times=100).max() == draws("uniform official", n, times=100).max() == 7
    assert draws("uniform to the last frame", n, times=100).max() == n - 1


@pytest.mark.parametrize("sampler", TRAIN_SAMPLERS)
def test_training_indices_are_a_function_of_the_generators_seed(sampler):
    first, again = draws(sampler, 200, times=20), draws(sampler, 200, times=20)
    other = TRAIN_SAMPLERS[sampler](200, 8, np.random.default_rng(1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[:1], other)


@pytest.mark.parametrize("sampler", TEST_SAMPLERS)
def test_empty_video_and_empty_clip_are_refused(sampler):
    with pytest.raises(ValueError, match="video has 0"):
        sampler(0, 8)
    with pytest.raises(ValueError, match="num_frames must be at least 1, got 0"):
        sampler(10, 0)


@pytest.mark.parametrize("sampler", TRAIN_SAMPLERS)
def test_training_samplers_refuse_an_empty_video(sampler):
    with pytest.raises(ValueError, match="video has 0"):
        draws(sampler, 0)


def test_an_unknown_style_is_refused_and_the_error_names_the_known_ones():
    with pytest.raises(ValueError, match="mmaction2, official.*'caffe'"):
        sampling.uniform_frames(10, 8, style="caffe")
    with pytest.raises(ValueError, match="mmaction2, official.*'caffe'"):
        sampling.uniform_center(10, 8, style="caffe")
    with pytest.raises(ValueError, match="mmaction2, official.*'caffe'"):
        sampling.uniform_train(10, 8, np.random.default_rng(0), style="caffe")

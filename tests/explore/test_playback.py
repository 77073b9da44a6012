import numpy as np
import pytest

from tanet.data import uniform_frames
from tanet.explore import Playback

NORMAL = Playback.normal(8)


def played(playback, total_frames=80):
    """The frames of a video at the places of a clip; as it is, they are 5, 15, ..., 75."""
    return playback.frames(uniform_frames(total_frames, 8)[0], total_frames).tolist()


@pytest.mark.parametrize("total_frames", [1, 7, 8, 23, 300])
def test_as_it_is_a_clip_has_the_frames_of_the_sampling(total_frames):
    assert played(NORMAL, total_frames) == uniform_frames(total_frames, 8)[0].tolist()


def test_reversed_plays_backwards_and_twice_is_as_before():
    assert played(NORMAL.reversed()) == played(NORMAL)[::-1]
    assert NORMAL.reversed().reversed() == NORMAL


def test_frozen_shows_one_frame_at_every_place():
    assert played(NORMAL.frozen(2)) == [25] * 8


@pytest.mark.parametrize("place, instead", [(0, 15), (1, 5), (4, 35), (7, 65)])
def test_a_dropped_frame_is_replaced_by_the_one_before(place, instead):
    """The first one by the one after."""
    expected = played(NORMAL)
    expected[place] = instead
    assert played(NORMAL.dropped(place)) == expected


def test_a_shuffle_keeps_the_frames_and_is_repeatable():
    orders = {NORMAL.shuffled(seed).order for seed in range(20)}
    assert len(orders) > 15 and all(sorted(order) == list(range(8)) for order in orders)
    assert NORMAL.shuffled(3) == NORMAL.shuffled(3)


def test_changes_follow_one_another_on_what_is_seen():
    """The place is that of the clip as it is played, not of the video."""
    assert played(NORMAL.reversed().dropped(1)) == [75, 75, 55, 45, 35, 25, 15, 5]
    assert played(NORMAL.reversed().frozen(0)) == [75] * 8
    assert played(NORMAL.shuffled(1).at_speed(0.5).reversed()) == played(NORMAL.at_speed(0.5).shuffled(1))[::-1]


def test_half_the_speed_takes_half_the_time_around_the_middle():
    """Positions 40 + (position - 40) / 2, rounded to even numbers where two frames are as near."""
    assert played(NORMAL.at_speed(0.5)) == [22, 28, 32, 38, 42, 48, 52, 58]


def test_at_twice_the_speed_the_video_waits_for_its_start_and_stands_still_at_its_end():
    assert played(NORMAL.at_speed(2)) == [0, 0, 10, 30, 50, 70, 79, 79]


@pytest.mark.parametrize("total_frames", [1, 9, 64, 300])
@pytest.mark.parametrize("speed", [0.01, 0.25, 1.5, 40])
def test_any_speed_plays_frames_that_the_video_has_in_their_order(speed, total_frames):
    frames = played(NORMAL.at_speed(speed), total_frames)
    assert frames == sorted(frames) and 0 <= frames[0] and frames[-1] < total_frames


@pytest.mark.parametrize(
    "playback, words",
    [
        (NORMAL, "as it is"),
        (NORMAL.reversed().at_speed(0.5), "reversed, speed 0.5"),
        (NORMAL.reversed().frozen(1), "frozen at frame 6"),
        (NORMAL.dropped(3).at_speed(2), "frames in the order 0 1 2 2 4 5 6 7, speed 2"),
    ],
)
def test_a_playback_says_what_it_is(playback, words):
    assert str(playback) == words


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: NORMAL.frozen(8), "places 0 to 7, got 8"),
        (lambda: NORMAL.dropped(-1), "places 0 to 7, got -1"),
        (lambda: NORMAL.at_speed(0), "above 0, got 0"),
        (lambda: NORMAL.at_speed(float("nan")), "above 0, got nan"),
        (lambda: Playback((0, 2)), "got [(]0, 2[)]"),
        (lambda: Playback(()), "got [(][)]"),
    ],
)
def test_what_no_clip_has_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_clip_of_one_frame_has_only_that_frame():
    """Networks of one frame exist; there is no neighbour to take the place of the frame."""
    assert Playback.normal(1).dropped(0).frames(np.array([5]), 10).tolist() == [5]

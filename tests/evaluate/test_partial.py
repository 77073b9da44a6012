import json

import numpy as np
import pytest

from tanet.evaluate.partial import PartialScores, exact

TEST = {"protocol": "sth-efficient", "sha256": "ab"}
SCORES = np.random.default_rng(0).random((6, 5)).astype(np.float32)


def started(tmp_path):
    partial = PartialScores(tmp_path / "result.json", TEST)
    assert partial.prepare() == {}
    for index in (4, 0, 2):
        partial.add(index % 2, index, SCORES[index])
    partial.add(1, 5, SCORES[5])
    return partial


def test_scores_come_back_to_the_bit(tmp_path):
    scores = started(tmp_path).prepare()
    assert sorted(scores) == [0, 2, 4, 5]
    assert all(row.dtype == np.float32 and np.array_equal(row, SCORES[index]) for index, row in scores.items())


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_that_a_kill_cut_short_is_dropped_and_not_appended_to(tmp_path, cut):
    partial = started(tmp_path)
    path = tmp_path / "result.json.partial/scores-0.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert sorted(partial.prepare()) == [0, 4, 5]
    partial.add(0, 2, SCORES[2])
    scores = PartialScores(tmp_path / "result.json", TEST).prepare()
    assert sorted(scores) == [0, 2, 4, 5] and np.array_equal(scores[2], SCORES[2])


def test_another_test_is_refused_and_nothing_is_lost(tmp_path):
    partial = started(tmp_path)
    with pytest.raises(ValueError, match="sha256: 'ab' there, 'cd' now"):
        PartialScores(tmp_path / "result.json", TEST | {"sha256": "cd"}).prepare()
    assert sorted(partial.prepare()) == [0, 2, 4, 5]


def test_scores_without_the_description_of_their_test_are_dropped(tmp_path):
    """A kill while the folder is being removed can leave scores without test.json."""
    started(tmp_path)
    (tmp_path / "result.json.partial/test.json").unlink()
    other = PartialScores(tmp_path / "result.json", TEST | {"sha256": "cd"})
    assert other.prepare() == {} and other.prepare() == {}


def test_exact_decimals_are_short_and_give_the_float_back():
    values = np.float32([0.1, 1 / 3, 1e-30, 0, 1, np.nan])
    assert json.dumps(exact(values)) == "[0.1, 0.33333334, 1e-30, 0.0, 1.0, NaN]"
    assert np.array_equal(np.array(exact(values), np.float32), values, equal_nan=True)

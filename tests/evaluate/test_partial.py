import json

import numpy as np
import pytest

from tanet.evaluate.partial import PartialScores, exact

TEST = {"protocol": "sth-efficient", "sha256": "ab"}
SCORES = np.random.default_rng(0).random((6, 5)).astype(np.float32)


def begun(tmp_path):
    partial = PartialScores(tmp_path / "result.json", TEST)
    assert partial.prepare() == {}
    for index in (4, 0, 2):
        partial.add(index % 2, index, SCORES[index])
    partial.add(1, 5, SCORES[5])
    return partial


def test_scores_come_back_to_the_bit(tmp_path):
    found = begun(tmp_path).prepare()
    assert sorted(found) == [0, 2, 4, 5]
    assert all(row.dtype == np.float32 and np.array_equal(row, SCORES[index]) for index, row in found.items())


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_cut_short_is_forgotten_and_not_written_on(tmp_path, cut):
    partial = begun(tmp_path)
    path = tmp_path / "result.json.partial/scores-0.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert sorted(partial.prepare()) == [0, 4, 5]
    partial.add(0, 2, SCORES[2])
    found = PartialScores(tmp_path / "result.json", TEST).prepare()
    assert sorted(found) == [0, 2, 4, 5] and np.array_equal(found[2], SCORES[2])


def test_another_test_is_refused_and_nothing_is_lost(tmp_path):
    partial = begun(tmp_path)
    with pytest.raises(ValueError, match="sha256: 'ab' there, 'cd' now"):
        PartialScores(tmp_path / "result.json", TEST | {"sha256": "cd"}).prepare()
    assert sorted(partial.prepare()) == [0, 2, 4, 5]


def test_scores_whose_test_is_not_known_any_more_are_not_taken_for_anothers(tmp_path):
    """A kill in the middle of clearing away can leave scores without the file that says which test they are of."""
    begun(tmp_path)
    (tmp_path / "result.json.partial/test.json").unlink()
    other = PartialScores(tmp_path / "result.json", TEST | {"sha256": "cd"})
    assert other.prepare() == {} and other.prepare() == {}


def test_exact_decimals_are_short_and_give_the_float_back():
    values = np.float32([0.1, 1 / 3, 1e-30, 0, 1, np.nan])
    assert json.dumps(exact(values)) == "[0.1, 0.33333334, 1e-30, 0.0, 1.0, NaN]"
    assert np.array_equal(np.array(exact(values), np.float32), values, equal_nan=True)

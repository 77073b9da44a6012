"""Tests of a network: every video's scores by a protocol, the metrics, result.json.

testing     plans a test and runs it
several     the tests of a run by every protocol of its recipe
scoring     a video's views and their scores, shared among processes
validation  loss and accuracy during training
metrics     accuracy from scores, its confidence interval, and two tests compared
partial     scores on disk while a test runs, so that a killed test can be resumed
report      result.json and its page
"""

from tanet.data import test_views
from tanet.evaluate.metrics import compare, interval, paired_p
from tanet.evaluate.partial import PartialScores
from tanet.evaluate.report import list_tested, result_page, videos_tested
from tanet.evaluate.scoring import (
    average_views,
    compute_groups,
    groups_of,
    score_videos,
    score_views,
    views_at_once,
    views_of,
)
from tanet.evaluate.several import run_protocols
from tanet.evaluate.testing import plan, run
from tanet.evaluate.validation import validate

__all__ = [
    "PartialScores",
    "average_views",
    "compare",
    "compute_groups",
    "groups_of",
    "interval",
    "list_tested",
    "paired_p",
    "plan",
    "result_page",
    "run",
    "run_protocols",
    "score_videos",
    "score_views",
    "test_views",
    "validate",
    "videos_tested",
    "views_at_once",
    "views_of",
]

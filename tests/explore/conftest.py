"""A network with random weights and a video of 24 frames."""

from pathlib import Path

import pytest
from prediction.conftest import something_weights  # noqa: F401

from tanet import Predictor
from tanet.data import open_video
from tanet.explore import Explorer


@pytest.fixture(scope="session")
def predictor(something_weights) -> Predictor:  # noqa: F811
    return Predictor(something_weights)


@pytest.fixture(scope="session")
def long_video(something_root) -> Path:
    """A folder of 24 frames, which move."""
    folders = sorted((something_root / "20bn-something-something-v1").iterdir())
    return next(folder for folder in folders if len(open_video(folder)) == 24)


@pytest.fixture
def explorer(predictor, long_video) -> Explorer:
    return Explorer(predictor, long_video)

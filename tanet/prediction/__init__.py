"""The classes of one's own videos, by a checkpoint, without a data set.

sources     which videos are meant by a file, a folder or a pattern
predicting  Predictor: videos in, classes with probabilities out, for the whole video and for each clip of it
streams     the same for a camera or a stream, window after window
output      a prediction in words and as JSON, and files of features
running     what the command does
"""

from tanet.prediction.output import as_json, as_text, write_features
from tanet.prediction.predicting import Prediction, Predictor, predict
from tanet.prediction.running import check_sources, run
from tanet.prediction.sources import find_videos, is_stream
from tanet.prediction.streams import predict_stream

__all__ = [
    "Prediction",
    "Predictor",
    "as_json",
    "as_text",
    "check_sources",
    "find_videos",
    "is_stream",
    "predict",
    "predict_stream",
    "run",
    "write_features",
]

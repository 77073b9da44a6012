"""The classes of one's own videos, by a checkpoint, without a data set.

sources     which videos are meant by a file, a folder or a pattern
predicting  Predictor: videos in, classes with probabilities out, for the whole video and for each clip of it
streams     the same for a camera or a stream, window after window
output      a prediction in words and as JSON, and files of features
"""

from tanet.prediction.output import as_json, as_text, check_feature_file, write_features
from tanet.prediction.predicting import Prediction, Predictor, predict
from tanet.prediction.sources import find_videos
from tanet.prediction.streams import is_stream, predict_stream

__all__ = [
    "Prediction",
    "Predictor",
    "as_json",
    "as_text",
    "check_feature_file",
    "find_videos",
    "is_stream",
    "predict",
    "predict_stream",
    "write_features",
]

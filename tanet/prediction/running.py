"""What the command `tanet predict` does: predictions one after another, and the features of all of them at the end."""

import os
import sys
from collections.abc import Iterator, Sequence

from tanet.data import Unreadable
from tanet.errors import VideoError
from tanet.prediction.output import check_feature_file, write_features
from tanet.prediction.predicting import Prediction, Predictor
from tanet.prediction.sources import find_videos, is_stream
from tanet.prediction.streams import predict_stream
from tanet.recipes import WINDOW


def check_sources(
    sources: Sequence[str], protocol: str | None, features: str | os.PathLike | None, window: int | None
) -> None:
    """ValueError, FileNotFoundError or DataError for what `run` cannot do; call it before weights are read."""
    if any(map(is_stream, sources)):
        if len(sources) > 1 or features or protocol:
            raise ValueError(
                "a camera or an address is predicted alone, window by window, without --features and --protocol"
            )
    elif window is not None:
        raise ValueError("--window is for a camera or an address; of files the protocol takes the clips")
    else:
        find_videos(sources)
    if features:
        check_feature_file(features)


def run(
    predictor: Predictor,
    sources: Sequence[str],
    features: str | os.PathLike | None = None,
    on_error: str = "raise",
    window: int | None = None,
) -> Iterator[Prediction]:
    """The predictions for `sources`: videos, see `find_videos`, or one camera or address, see `predict_stream`.

    Where the weights do not name their classes, a line on stderr says where names come from. The features go to the
    file `features`, if it is given. With on_error="skip" videos that cannot be read are named on stderr and left out;
    VideoError if that are all.
    """
    if predictor.about_names:
        print(predictor.about_names, file=sys.stderr, flush=True)
    if any(map(is_stream, sources)):
        yield from predict_stream(predictor, sources[0], window or WINDOW)
        return
    videos, kept = find_videos(sources), {}
    quiet = len(videos) == 1 or sys.stdout.isatty()  # there the predictions themselves show the progress
    for found in predictor.predict_many(videos, bool(features), on_error, quiet):
        if isinstance(found, Unreadable):
            print(f"left out: {found.reason}", file=sys.stderr, flush=True)
            continue
        kept[found.path] = found.features
        yield found
    if not kept:
        raise VideoError(f"none of the {len(videos)} videos can be read")
    if features:
        write_features(features, kept)

"""When the frames of a video are shown, in seconds from its first frame."""

import numpy as np

from tanet.data.video import DecordFile, FrameFolder, PyAVFile


def frame_seconds(video: DecordFile | PyAVFile | FrameFolder, indices: np.ndarray) -> np.ndarray:
    """Frame indices of any shape -> seconds, float64 of that shape.

    NaN where nothing tells: folders of frames have no times, and some containers store none.
    """
    if isinstance(video, DecordFile):
        times = video._reader.get_frame_timestamp(range(len(video)))[:, 0].astype(np.float64)
        return times[indices] - times[0]
    if isinstance(video, PyAVFile) and video._packets.timed:
        file = video._packets
        shown = [file.packets[file.packet_of_frame[index]] for index in (0, *np.ravel(indices).tolist())]
        times = np.array([float(packet.pts * packet.time_base) for packet in shown])
        return (times[1:] - times[0]).reshape(np.shape(indices))
    return np.full(np.shape(indices), np.nan)

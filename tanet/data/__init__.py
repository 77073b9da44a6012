"""From lists of videos to batches of clips. In the order in which a clip passes through the files:

annotations  reads the publishers' annotation files
list_files   reads list files in the formats of other code bases, and writes them
lists        joins either with the disk: the samples of a split
probing      what a video file holds, and which decoder reads it
video        frames of video files and of folders of JPEGs
times        when the frames of a video are shown
sampling     which frames of a video make a clip
transforms   resizes, crops and flips
clips        clips for training, validation and testing
loader       batches from workers, and what happens to unreadable videos
"""

from tanet.data import sampling, transforms
from tanet.data.annotations import FOLDERS, LABEL_FILES, class_index
from tanet.data.clips import (
    TrainingClips,
    ValidationClips,
    center_clip,
    center_view,
    test_views,
    views_of_video,
)
from tanet.data.list_files import Row, read_rows, write_list
from tanet.data.lists import (
    PROBES,
    SKIPPING,
    SPLITS,
    STAT_THREADS,
    Sample,
    VideoList,
    class_names_at,
    datasets_at,
    describe_readers,
    load_list,
    read_probes,
    write_probes,
)
from tanet.data.loader import (
    EpochBatches,
    Unreadable,
    explain_worker_failure,
    make_loader,
    raise_unreadable,
    training_loader,
    validation_loader,
)
from tanet.data.probing import FASTER, Probe, probe
from tanet.data.sampling import dense_center, dense_clips, dense_train, uniform_center, uniform_frames, uniform_train
from tanet.data.times import frame_seconds
from tanet.data.transforms import (
    center_crop,
    mirrored_classes,
    multi_scale_crop,
    resize_short_side,
    three_crops,
    training_clip,
)
from tanet.data.video import FrameFolder, PyAVFile, open_video

__all__ = [
    "EpochBatches",
    "FASTER",
    "FOLDERS",
    "FrameFolder",
    "LABEL_FILES",
    "PROBES",
    "Probe",
    "PyAVFile",
    "Row",
    "SKIPPING",
    "SPLITS",
    "STAT_THREADS",
    "Sample",
    "TrainingClips",
    "Unreadable",
    "ValidationClips",
    "VideoList",
    "center_clip",
    "center_crop",
    "center_view",
    "class_index",
    "class_names_at",
    "datasets_at",
    "dense_center",
    "dense_clips",
    "dense_train",
    "describe_readers",
    "explain_worker_failure",
    "frame_seconds",
    "load_list",
    "make_loader",
    "mirrored_classes",
    "multi_scale_crop",
    "open_video",
    "probe",
    "raise_unreadable",
    "read_probes",
    "read_rows",
    "resize_short_side",
    "sampling",
    "test_views",
    "three_crops",
    "training_clip",
    "training_loader",
    "transforms",
    "uniform_center",
    "uniform_frames",
    "uniform_train",
    "validation_loader",
    "views_of_video",
    "write_list",
    "write_probes",
]

"""From lists of videos to batches of clips. In the order in which a clip passes through the files:

annotations  reads the publishers' annotation files
list_files   reads list files in the formats of other code bases, and writes them
own_videos   reads class folders or a table of one's own, and splits them
finding      which video is meant by a name, below the root of a data set
lists        joins names with the disk: the samples of a split
remarks      what is odd about lists: videos listed twice, in training and validation, ...
probing      what a video file holds, and which decoder reads it
frame_names  how a folder names and numbers its frames
video        frames of video files and of folders of pictures
times        when the frames of a video are shown
sampling     which frames of a video make a clip
transforms   resizes, crops and flips
short_clips  short videos, whose frames training does not all draw
clips        clips for training, validation and testing
survey       what a data set is made of: a table, and advice
workers      starts workers, and what stop signals do to them
sharing      from a worker to the main process, also where shared memory is short
loader       batches from workers, and what happens to unreadable videos
"""

from tanet.data import sampling, transforms
from tanet.data.annotations import LABEL_FILES, annotation_file, class_index
from tanet.data.clips import (
    TrainingClips,
    ValidationClips,
    center_clip,
    center_view,
    test_views,
    views_of_video,
)
from tanet.data.finding import SUFFIXES, all_videos, folders_of, is_video_file, video_name
from tanet.data.frame_names import FrameNames, describe_frames, is_picture, read_frame_names
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
    readable_batch,
    readable_items,
    training_loader,
    validation_loader,
)
from tanet.data.own_videos import (
    LISTS,
    OWN_LABELS,
    OWN_TABLE,
    VAL_SHARE,
    OwnVideos,
    make_split,
    own_rows,
    read_own_videos,
)
from tanet.data.probing import FASTER, Probe, probe
from tanet.data.remarks import shared
from tanet.data.sampling import dense_center, dense_clips, dense_train, uniform_center, uniform_frames, uniform_train
from tanet.data.short_clips import undrawn_frames
from tanet.data.survey import Overview, overview
from tanet.data.times import frame_seconds
from tanet.data.transforms import (
    center_crop,
    directed_classes,
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
    "FrameFolder",
    "FrameNames",
    "LABEL_FILES",
    "LISTS",
    "OWN_LABELS",
    "OWN_TABLE",
    "Overview",
    "OwnVideos",
    "PROBES",
    "Probe",
    "PyAVFile",
    "Row",
    "SKIPPING",
    "SPLITS",
    "STAT_THREADS",
    "SUFFIXES",
    "Sample",
    "TrainingClips",
    "Unreadable",
    "VAL_SHARE",
    "ValidationClips",
    "VideoList",
    "all_videos",
    "annotation_file",
    "center_clip",
    "center_crop",
    "center_view",
    "class_index",
    "class_names_at",
    "datasets_at",
    "dense_center",
    "dense_clips",
    "dense_train",
    "describe_frames",
    "describe_readers",
    "directed_classes",
    "explain_worker_failure",
    "folders_of",
    "frame_seconds",
    "is_picture",
    "is_video_file",
    "load_list",
    "make_loader",
    "make_split",
    "mirrored_classes",
    "multi_scale_crop",
    "open_video",
    "overview",
    "own_rows",
    "probe",
    "raise_unreadable",
    "read_frame_names",
    "read_own_videos",
    "read_probes",
    "read_rows",
    "readable_batch",
    "readable_items",
    "resize_short_side",
    "sampling",
    "shared",
    "test_views",
    "three_crops",
    "training_clip",
    "training_loader",
    "transforms",
    "undrawn_frames",
    "uniform_center",
    "uniform_frames",
    "uniform_train",
    "validation_loader",
    "video_name",
    "views_of_video",
    "write_list",
    "write_probes",
]

"""The demo: synthetic videos, and networks trained on them.

drawing      draws the clips
footage      makes the demo videos in the real data sets' formats
home_videos  makes a small folder of videos as people have them
ablation     trains and tests what notebook 10 compares
picture      makes the moving picture of the README
runs         trains and tests the demo networks, runs the notebooks
kernels      starts the notebooks' kernels, many at once
"""

from tanet.demo import ablation
from tanet.demo.drawing import draw_clip, draw_told_clip
from tanet.demo.footage import (
    KINETICS_CLASSES,
    SOMETHING_PAIRS,
    make_demo_kinetics,
    make_demo_late,
    make_demo_near,
    make_demo_something,
    write_video,
)
from tanet.demo.home_videos import HOME_CLASSES, PEOPLE, make_home_videos
from tanet.demo.picture import make_picture
from tanet.demo.runs import (
    ROOT,
    RUNS,
    STORED,
    data_root,
    examples,
    execute,
    run_all,
    run_dir,
    store,
    stored,
    stored_metrics,
    trained,
)

__all__ = [
    "HOME_CLASSES",
    "KINETICS_CLASSES",
    "PEOPLE",
    "ROOT",
    "RUNS",
    "SOMETHING_PAIRS",
    "STORED",
    "ablation",
    "data_root",
    "draw_clip",
    "draw_told_clip",
    "examples",
    "execute",
    "make_demo_kinetics",
    "make_demo_late",
    "make_demo_near",
    "make_demo_something",
    "make_home_videos",
    "make_picture",
    "run_all",
    "run_dir",
    "store",
    "stored",
    "stored_metrics",
    "trained",
    "write_video",
]

"""The demo: synthetic videos, and networks trained on them.

footage      makes the demo videos in the real data sets' formats
home_videos  makes a small folder of videos as people have them
runs         trains and tests the demo networks, runs the notebooks
"""

from tanet.demo.footage import (
    KINETICS_PAIRS,
    SOMETHING_PAIRS,
    draw_clip,
    make_demo_kinetics,
    make_demo_something,
    write_video,
)
from tanet.demo.home_videos import HOME_CLASSES, PEOPLE, make_home_videos
from tanet.demo.runs import ROOT, RUNS, data_root, examples, execute, run_all, run_dir, summary, tested, trained

__all__ = [
    "HOME_CLASSES",
    "KINETICS_PAIRS",
    "PEOPLE",
    "ROOT",
    "RUNS",
    "SOMETHING_PAIRS",
    "data_root",
    "draw_clip",
    "examples",
    "execute",
    "make_demo_kinetics",
    "make_demo_something",
    "make_home_videos",
    "run_all",
    "run_dir",
    "summary",
    "tested",
    "trained",
    "write_video",
]

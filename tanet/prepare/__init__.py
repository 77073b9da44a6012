"""From folders of videos to lists that train, in workers that survive broken files.

commands        the command `tanet data`
own_videos      what it does: lists, checks and smaller copies of videos of one's own
list_writing    writes list files and probes.csv
verifying       reads every video where training and testing would, and writes verify.csv
resizing        encodes videos anew for training: smaller, with a key frame every 12 frames
frame_resizing  the same for folders of frames, whose frames get one size
workers         worker processes: one that hangs or crashes costs only its item
ignore_sigint   what the workers' server imports first
common          one command at a time in a folder, errors as messages, small tables, folders written whole
"""

from tanet.prepare.commands import add_data_command
from tanet.prepare.common import (
    add_processes_option,
    exit_with_message,
    folder_lock,
    print_remarks,
    read_table,
    write_table,
    written_whole,
)
from tanet.prepare.frame_resizing import JPEG_QUALITY
from tanet.prepare.list_writing import write_lists
from tanet.prepare.own_videos import resize_own_videos, verify_own_videos, write_own_lists
from tanet.prepare.resizing import add_resize_options, run_resize
from tanet.prepare.verifying import verify
from tanet.prepare.workers import Failure, run_in_workers

__all__ = [
    "add_data_command",
    "Failure",
    "JPEG_QUALITY",
    "add_processes_option",
    "add_resize_options",
    "exit_with_message",
    "folder_lock",
    "print_remarks",
    "read_table",
    "resize_own_videos",
    "run_in_workers",
    "run_resize",
    "verify",
    "verify_own_videos",
    "write_lists",
    "write_own_lists",
    "write_table",
    "written_whole",
]

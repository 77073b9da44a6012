"""The command `tanet data lists|verify|resize ROOT`; tanet.cli adds it to its own."""

import argparse

from tanet.prepare.common import add_processes_option, folder_lock
from tanet.prepare.own_videos import resize_own_videos, verify_own_videos, write_own_lists
from tanet.runtime import user_path
from tanet.visualize import data_overview


def add_data_command(commands) -> None:
    """Adds the parser of `data` to `commands`, what argparse's `add_subparsers` returns; its `run` runs the command."""
    text = "Videos of your own: lists and a split, a check of every video, smaller copies. See docs/own_videos.md."
    actions = commands.add_parser("data", help=text, description=text).add_subparsers(required=True, metavar="ACTION")
    lists = _add_action(actions, "lists", _lists, "Show what the videos are, write their lists, and make a split.")
    lists.add_argument("--group-by", metavar="REGEX", help="finds the group in a path; a group is in one split only")
    lists.add_argument("--val-share", type=float, help="share of the videos for validation; default: 0.2")
    verify = _add_action(actions, "verify", _verify, "Read every listed video where training and testing would.")
    verify.add_argument("--seconds", type=float, default=60.0, help="time limit of a video; default: 60")
    verify.add_argument("--again", action="store_true", help="also videos that were verified already")
    resize = _add_action(actions, "resize", _resize, "Encode the videos anew, smaller, into another folder.")
    resize.add_argument("out", type=user_path, help="folder to make")
    resize.add_argument("--short-side", type=int, default=256, help="pixels; default: 256")


def _add_action(actions, name: str, run, text: str) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=text, description=text)
    action.set_defaults(run=run)
    action.add_argument("root", type=user_path, help="folder of the videos")
    add_processes_option(action)
    return action


def _lists(chosen: argparse.Namespace) -> None:
    with folder_lock(chosen.root):
        found = write_own_lists(chosen.root, chosen.processes, chosen.group_by, chosen.val_share)
        picture = chosen.root / "overview.png"
        data_overview(found, chosen.root.resolve().name).savefig(picture, dpi=110)
        print(f"{found.page()}\nThe same as a picture: {picture}")


def _verify(chosen: argparse.Namespace) -> None:
    with folder_lock(chosen.root):
        verify_own_videos(chosen.root, chosen.processes, chosen.seconds, chosen.again)


def _resize(chosen: argparse.Namespace) -> None:
    with folder_lock(chosen.out, create=True):
        resize_own_videos(chosen.root, chosen.out, chosen.short_side, chosen.processes)

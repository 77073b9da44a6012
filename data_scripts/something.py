"""Something-Something V1 and V2, from their publisher's files to folders that train:

    python -m data_scripts.something v1|v2 COMMAND --root ROOT

    extract   joins the parts 20bn-something-something-vN-?? in --parts and unpacks them into
              ROOT/20bn-something-something-vN; of V2 also the two zip files that hold them
    frames    V2: ROOT/20bn-something-something-v2-frames/ID/00001.jpg from the video files, for training on folders
    resize    the same videos below OUT, smaller, and all frames of a folder of one size
    lists     ROOT/lists/{train,val}.txt and probes.csv; says what is missing
    labels    the classes in both orders that circulate, and which are mirror images
    verify    verify.csv: every video opened and read where training and testing would

The data are for research only. Their publisher hands them out with the labels and annotations; nothing is downloaded
here.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from data_scripts.steps.something_parts import extract
from tanet import recipes
from tanet.data import (
    LABEL_FILES,
    SPLITS,
    STAT_THREADS,
    VideoList,
    all_videos,
    annotation_file,
    class_names_at,
    is_video_file,
    load_list,
    mirrored_classes,
    open_video,
    uniform_frames,
    video_name,
)
from tanet.errors import VideoError
from tanet.prepare import (
    JPEG_QUALITY,
    add_processes_option,
    add_resize_options,
    exit_with_message,
    folder_lock,
    print_remarks,
    run_in_workers,
    run_resize,
    write_lists,
    written_whole,
)
from tanet.prepare import verify as verify_videos
from tanet.runtime import track, user_path, write_text

PUBLISHED = {"v1": {"train": 86_017, "val": 11_522}, "v2": {"train": 168_913, "val": 24_777}}
FRAMES = "20bn-something-something-v2-frames"


def lists(version: str, root: Path, processes: int, frames: bool = False) -> None:
    """Writes the lists of both splits from the publisher's annotations. missing-{split}.txt names the videos that are
    not there. With `frames` the lists hold V2's folders of frames instead of its webm files."""
    rows, found = {}, {}
    for split in SPLITS:
        videos = found[split] = _videos(version, root, split)
        paths = [_frames_of(root, sample.path) if frames else sample.path for sample in videos.samples]
        is_there = _are_there(paths) if frames else [True] * len(paths)
        rows[split] = [
            (path.relative_to(root).as_posix(), sample.label)
            for path, sample, there in zip(paths, videos.samples, is_there)
            if there
        ]
        missing = list(videos.missing)
        missing += [sample.path.name for sample, there in zip(videos.samples, is_there) if not there]
        write_text(root / f"missing-{split}.txt", "".join(f"{name}\n" for name in missing))
        published = f"; the published set has {PUBLISHED[version][split]:,}" if len(videos.class_names) == 174 else ""
        print(
            f"{split}: {len(rows[split]):,} of {len(rows[split]) + len(missing):,} annotated videos are there, "
            f"{len(missing):,} missing (missing-{split}.txt){published}",
            flush=True,
        )
    print_remarks(found)
    write_lists(root, rows, processes)


def _frames_of(root: Path, video: Path) -> Path:
    """The folder that `make_frames` writes for a video."""
    return root / FRAMES / video_name(video)


def _are_there(folders: list[Path]) -> list[bool]:
    with ThreadPoolExecutor(STAT_THREADS) as pool:  # over a network each call waits for an answer
        return list(pool.map(Path.is_dir, folders))


def _videos(version: str, root: Path, split: str) -> VideoList:
    dataset = f"something_{version}"
    recipe = recipes.get("sthv1_8f").with_changes(
        {"dataset": dataset, "num_classes": len(class_names_at(dataset, root))}
    )
    return load_list(recipe, root, split, missing="skip")


def frames_to_check(num_frames: int) -> list[int]:
    """The frames of a video that `verify` reads: the first, the last, and those of the accurate tests of 8 and 16
    frames."""
    tested = [uniform_frames(num_frames, number, twice=True).ravel() for number in (8, 16)]
    return sorted({0, num_frames - 1, *np.concatenate(tested).tolist()})


def verify(
    version: str, root: Path, processes: int, seconds: float = 60.0, again: bool = False, frames: bool = False
) -> None:
    """Reads every annotated video that is there, with `frames` V2's folders of frames; see
    tanet.prepare."""
    paths = [sample.path for split in SPLITS for sample in _videos(version, root, split).samples]
    if frames:
        folders = [_frames_of(root, path) for path in paths]
        paths = [folder for folder, there in zip(folders, _are_there(folders)) if there]
    verify_videos(root, paths, frames_to_check, processes, seconds, again)


def labels(version: str, root: Path) -> str:
    """Writes labels-listed.txt (the label file's order, as in MMAction2) and labels-sorted.txt (by name, as in the
    official code for V1). Returns both as a table, with the class that each class becomes in a mirror."""
    listed = class_names_at(f"something_{version}", root)
    by_name = sorted(listed)
    for order, names in (("listed", listed), ("sorted", by_name)):
        write_text(root / f"labels-{order}.txt", "".join(f"{name}\n" for name in names))
    mirror = mirrored_classes(list(listed))
    rows = [f"{'listed':>6} {'sorted':>6}  class"]
    for index, name in enumerate(listed):
        other = f"   <-> {listed[mirror[index]]}" if mirror[index] != index else ""
        rows.append(f"{index:6} {by_name.index(name):6}  {name}{other}")
    same = sum(by_name.index(name) == index for index, name in enumerate(listed))
    return "\n".join([*rows, f"the two orders agree on {same} of {len(listed)} classes"])


def make_frames(root: Path, processes: int, seconds: float = 600.0) -> dict[str, str]:
    """Writes V2's video files as folders of JPEGs, quality 95, at their own size. Keeps folders that are there. Returns
    {video: reason} of those that failed. `seconds`: time limit of a video."""
    videos = [path for path in all_videos("something_v2", root, "train") if is_video_file(path.name)]
    there = _are_there([_frames_of(root, path) for path in videos])
    waiting = [path for path, is_there in zip(videos, there) if not is_there]
    print(f"{root / FRAMES}: {len(videos)} videos, {len(videos) - len(waiting)} of them there", flush=True)
    results = run_in_workers(partial(_make_frames_of, root), waiting, processes, seconds)
    results = track(results, len(waiting), "frames, videos")
    failures = {path.name: str(reason) for path, reason in results if reason is not None}
    if failures:
        reasons = "".join(f"\n  {name}: {failures[name]}" for name in sorted(failures))
        print(f"{len(failures)} of {len(videos)} videos cannot be decoded and are left out{reasons}")
    return failures


def _make_frames_of(root: Path, source: Path) -> str | None:
    """Writes a video's folder, whole or not at all. Returns None, or what is wrong with the video."""
    try:
        with open_video(source) as video, written_whole(_frames_of(root, source)) as folder:
            for index in range(0, len(video), 16):
                frames = video.frames(range(index, min(index + 16, len(video))))
                for number, frame in enumerate(frames.permute(0, 2, 3, 1).numpy(), index + 1):
                    Image.fromarray(frame).save(folder / f"{number:05d}.jpg", quality=JPEG_QUALITY)
    except VideoError as error:
        return str(error).removeprefix(f"{source}: ")


def main(arguments: list[str] | None = None) -> None:
    """Runs the command in `arguments`, by default those of the shell."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    folder = chosen.out if chosen.command == "resize" else chosen.root
    with exit_with_message(parser), folder_lock(folder, create=chosen.command in ("extract", "resize")):
        _run(parser, chosen)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_scripts.something",
        description="Something-Something V1 and V2, from their publisher's files to folders that train. Research-only: "
        "the files come from the publisher, and nothing is downloaded.",
    )
    parser.add_argument("version", choices=("v1", "v2"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    added = {
        name: commands.add_parser(name, help=text, description=text)
        for name, text in (
            ("extract", "join and unpack the publisher's parts"),
            ("frames", "V2: folders of JPEGs from the video files"),
            ("resize", "write the videos or folders of frames anew, smaller, all frames of a folder of one size"),
            ("lists", "write list files, probe the videos, say what is missing"),
            ("labels", "show the classes in both orders that circulate"),
            ("verify", "read every video where training and testing would"),
        )
    }
    for command in added.values():
        command.add_argument("--root", type=user_path, required=True, help="folder of the data set")
    added["extract"].add_argument("--parts", type=user_path, help="where the publisher's files are (default: ROOT)")
    for name in ("lists", "verify"):
        added[name].add_argument("--frames", action="store_true", help="V2: use the folders that `frames` made")
    added["verify"].add_argument("--seconds", type=float, default=60.0, help="time limit of a video (default: 60)")
    added["verify"].add_argument("--again", action="store_true", help="also videos that were verified already")
    add_resize_options(added["resize"])
    for name in ("frames", "lists", "verify"):
        add_processes_option(added[name])
    return parser


def _run(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> None:
    version, root = chosen.version, chosen.root
    if version == "v1" and (chosen.command == "frames" or getattr(chosen, "frames", False)):
        raise ValueError("V1 comes as folders of frames already")
    if chosen.command == "extract":
        extract(version, chosen.parts or root, root)
    elif chosen.command == "frames":
        if make_frames(root, chosen.processes):
            parser.exit(1)
    elif chosen.command == "resize":
        annotations = [annotation_file(f"something_{version}", root, split) for split in SPLITS]
        names = [LABEL_FILES[f"something_{version}"], *(path.name for path in annotations)]
        run_resize(f"something_{version}", chosen, ("train",), names)  # both splits lie in one folder
    elif chosen.command == "lists":
        lists(version, root, chosen.processes, chosen.frames)
    elif chosen.command == "labels":
        print(labels(version, root))
    else:
        verify(version, root, chosen.processes, chosen.seconds, chosen.again, chosen.frames)


if __name__ == "__main__":
    main()

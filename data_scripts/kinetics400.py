"""Kinetics-400, from nothing to folders that train: `python -m data_scripts.kinetics400 COMMAND --root ROOT`.

    download   ROOT/annotations/{train,val,test}.csv; ROOT/archives/{train,val,test}/part_N.tar.gz and the replacement
               of corrupted videos; ROOT/archives/downloads.csv records their sizes and SHA-256
    extract    ROOT/{train,val,test}/part_N/ID_START_END.mp4; ROOT/extracted.csv records which archives are done
    resize     the same videos below OUT, smaller, with a key frame every 12 frames
    lists      labels.txt, list files and probes.csv, and missing-{train,val}.txt
    verify     verify.csv: every video opened and read where training and testing would

A command that was interrupted or killed resumes when it is run again.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_scripts.steps.download import download
from data_scripts.steps.fetch import PATIENT, DownloadError, Patience
from data_scripts.steps.kinetics_archives import BASE_URL, REPLACEMENT, addresses, annotations, extract
from tanet import recipes
from tanet.data import SPLITS, VideoList, class_names_at, dense_clips, load_list
from tanet.errors import DataError
from tanet.prepare import (
    add_processes_option,
    add_resize_options,
    exit_with_message,
    folder_lock,
    print_remarks,
    run_resize,
    write_lists,
)
from tanet.prepare import verify as verify_videos
from tanet.runtime import user_path, write_text

ARCHIVE_SPLITS = ("train", "val", "test")  # test has no labels, so only SPLITS get lists
PUBLISHED = {"train": 240_436, "val": 19_796}  # videos behind the published results


def lists(root: Path, splits: list[str], processes: int) -> None:
    """Joins annotations and files on the videos' ids. Writes labels.txt if there is none, missing-{split}.txt, and by
    `write_lists` the list files and probes.csv."""
    if not (root / "labels.txt").exists():
        labels = sorted({row["label"] for row in annotations(root, "train") if row.get("label")})
        if not labels:
            raise DataError(
                f"{root}/labels.txt: not there, nor {root}/annotations/train.csv to make it from; download it"
            )
        write_text(root / "labels.txt", "".join(f"{label}\n" for label in labels))
    rows, found = {}, {}
    for split in splits:
        videos = found[split] = _videos(root, split)
        write_text(root / f"missing-{split}.txt", "".join(f"{name}\n" for name in videos.missing))
        rows[split] = [(sample.path.relative_to(root).as_posix(), sample.label) for sample in videos.samples]
        published = f"; the published results had {PUBLISHED[split]:,}" if len(videos.class_names) == 400 else ""
        print(
            f"{split}: {len(videos):,} of {len(videos) + len(videos.missing):,} annotated videos are there, "
            f"{len(videos.missing):,} missing (missing-{split}.txt){published}",
            flush=True,
        )
    print_remarks(found)
    write_lists(root, rows, processes)


def _videos(root: Path, split: str) -> VideoList:
    classes = len(class_names_at("kinetics", root))
    return load_list(recipes.get("k400_8f").with_changes({"num_classes": classes}), root, split, missing="skip")


def frames_to_check(num_frames: int) -> list[int]:
    """The frames of a video that `verify` reads: the first, the last, and those of the k400-dense test."""
    return sorted({0, num_frames - 1, *np.unique(dense_clips(num_frames, 8)).tolist()})


def verify(root: Path, splits: list[str], processes: int, seconds: float = 60.0, again: bool = False) -> None:
    """Reads every annotated video that is there; see tanet.prepare."""
    paths = [sample.path for split in splits for sample in _videos(root, split).samples]
    verify_videos(root, paths, frames_to_check, processes, seconds, again)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command in `arguments`, by default those of the shell."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    with exit_with_message(parser):
        if chosen.run is _run_resize:
            folder, create = chosen.out, True
        else:
            folder, create = chosen.root, chosen.run is _run_download
        with folder_lock(folder, create):
            chosen.run(chosen)


def _run_download(chosen: argparse.Namespace) -> None:
    patience = Patience(chosen.timeout, chosen.retries, chosen.wait)
    base_url = chosen.base_url.rstrip("/")
    archive_lists = {split: f"{base_url}/{split}/k400_{split}_path.txt" for split in chosen.splits}
    for item in chosen.list:
        split, separator, archive_list = item.partition("=")
        if split not in archive_lists or not separator:
            raise ValueError(f"--list {item}: expected SPLIT=FILE, with one of {', '.join(archive_lists)}")
        archive_lists[split] = archive_list
    tables = {f"{split}.csv": f"{base_url}/annotations/{split}.csv" for split in ARCHIVE_SPLITS}
    archives = {REPLACEMENT: f"{base_url}/{REPLACEMENT}"}
    errors = []
    for split, archive_list in archive_lists.items():
        try:
            archives |= addresses(split, archive_list, base_url, patience)
        except (DownloadError, ValueError, OSError) as error:
            errors.append(str(error))
    for files, folder in ((tables, chosen.root / "annotations"), (archives, _archives_folder(chosen))):
        try:
            download(files, folder, patience, chosen.threads, chosen.check, chosen.dry_run)
        except DownloadError as error:
            errors.append(str(error))
    if errors:
        raise DownloadError("\n".join(errors))


def _archives_folder(chosen: argparse.Namespace) -> Path:
    return chosen.archives or chosen.root / "archives"


def _run_extract(chosen: argparse.Namespace) -> None:
    extract(chosen.root, _archives_folder(chosen), chosen.splits, chosen.processes)


def _run_resize(chosen: argparse.Namespace) -> None:
    annotation_files = ["labels.txt", *(f"annotations/{split}.csv" for split in ARCHIVE_SPLITS)]
    run_resize("kinetics", chosen, chosen.splits, annotation_files)


def _run_lists(chosen: argparse.Namespace) -> None:
    lists(chosen.root, chosen.splits, chosen.processes)


def _run_verify(chosen: argparse.Namespace) -> None:
    verify(chosen.root, chosen.splits, chosen.processes, chosen.seconds, chosen.again)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_scripts.kinetics400", description="Kinetics-400, from nothing to folders that train."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable, text: str, splits: tuple[str, ...] = SPLITS) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        added.add_argument("--root", type=user_path, required=True, help="folder of the data set")
        added.add_argument("--splits", nargs="+", choices=splits, default=list(SPLITS), help="default: train val")
        return added

    added = command("download", _run_download, "fetch archives and annotations; resumes where it was", ARCHIVE_SPLITS)
    added.add_argument("--archives", type=user_path, help="where archives go (default: ROOT/archives)")
    added.add_argument("--base-url", default=BASE_URL, help=f"address of a mirror (default: {BASE_URL})")
    added.add_argument(
        "--list", action="append", default=[], metavar="SPLIT=FILE", help="list of archives, a file or an address"
    )
    added.add_argument("--threads", type=int, default=8, help="files fetched at once (default: 8)")
    added.add_argument("--check", action="store_true", help="also compare the SHA-256 of files that are there")
    added.add_argument("--dry-run", action="store_true", help="fetch no archive, only list what there is")
    added.add_argument(
        "--timeout",
        type=float,
        default=PATIENT.timeout,
        help="seconds without a byte before a connection is dropped (default: 60)",
    )
    added.add_argument(
        "--retries", type=int, default=PATIENT.retries, help="retries in a row that may bring nothing new (default: 8)"
    )
    added.add_argument("--wait", type=float, default=PATIENT.wait, help="seconds before the first retry (default: 1)")

    added = command("extract", _run_extract, "unpack the archives; resumes where it was", ARCHIVE_SPLITS)
    added.add_argument("--archives", type=user_path, help="where archives are (default: ROOT/archives)")
    add_processes_option(added)

    added = command("resize", _run_resize, "encode the videos anew, smaller, into another folder", ARCHIVE_SPLITS)
    add_resize_options(added)

    add_processes_option(command("lists", _run_lists, "write label and list files; say what is missing"))

    added = command("verify", _run_verify, "read every video where training and testing would")
    added.add_argument("--seconds", type=float, default=60, help="time limit of a video (default: 60)")
    added.add_argument("--again", action="store_true", help="also videos that were verified already")
    add_processes_option(added)
    return parser


if __name__ == "__main__":
    main()

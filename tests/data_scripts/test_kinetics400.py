import csv
import io
import re
import shutil
import tarfile
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.fileserver import Page, serve
from support.footage import write_footage
from support.moments import PATIENCE, hold, kill, kill_at, start_process, wait_for, with_forked_workers

from data_scripts import kinetics400
from data_scripts.steps import archives, kinetics_archives
from data_scripts.steps.kinetics_archives import BASE_URL, REPLACEMENT, addresses
from tanet import recipes
from tanet.data import load_list, read_probes
from tanet.demo import draw_clip, write_video
from tanet.errors import DataError
from tanet.prepare import folder_lock, read_table, resizing

LABELS = ("moving left to right", "moving right to left")
HEADER = ["label", "youtube_id", "time_start", "time_end", "split"]
# split -> (archive, label's index, YouTube's id, start), two ids with characters that separate words elsewhere
CLIPS = {
    "train": [("part_0", 0, "-_a__-0001_", 5), ("part_0", 1, "aaaaaaaaaa2", 15), ("part_1", 0, "-4wsuPCjDBc", 123)],
    "val": [("part_0", 0, "bbbbbbbbbb1", 0), ("part_0", 1, "bbbbbbbbbb_", 7)],
}
BROKEN = ("part_0", 0, "brokenvideo", 9)  # of val, and not replaced
CORRUPTED = ("train", "part_0", "aaaaaaaaaa2_000015_000025.mp4")


def name_of(youtube_id, start):
    return f"{youtube_id}_{start:06d}_{start + 10:06d}.mp4"


def pack(files):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def table(rows):
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """(split, file name) -> a video's bytes: pairs of classes played forwards and backwards, 96x80, 60 frames."""
    folder, made = tmp_path_factory.mktemp("originals"), {}
    for split, clips in CLIPS.items():
        for _, label, youtube_id, start in clips:
            rng = np.random.default_rng(start)
            frames = draw_clip("x", label == 1, 60, (96, 80), rng)
            write_video(folder / "a.mp4", frames, Fraction(25))
            made[split, name_of(youtube_id, start)] = (folder / "a.mp4").read_bytes()
    return made | {("val", name_of(*BROKEN[2:])): b"no video"}


def clips_of(split):
    return [*CLIPS[split], BROKEN] if split == "val" else CLIPS[split]


@pytest.fixture
def site(originals):
    """{path: Page} of a small Kinetics as the CVDF serves it; the archive lists name the CVDF's addresses."""
    pages, replaced = {}, originals["train", CORRUPTED[2]]
    for split in CLIPS:
        parts = {}
        for part, _, youtube_id, start in clips_of(split):
            name = name_of(youtube_id, start)
            parts.setdefault(part, {})[f"./{name}"] = originals[split, name]
            parts[part][f"./._{name}"] = b"junk"
        if split == "train":
            parts["part_0"][f"./{CORRUPTED[2]}"] = bytes(len(replaced))
        pages |= {f"{split}/{part}.tar.gz": Page(pack(files)) for part, files in parts.items()}
        lines = "".join(f"{BASE_URL}/{split}/{part}.tar.gz\n" for part in parts)
        pages[f"{split}/k400_{split}_path.txt"] = Page(f"{lines}\n".encode())
        rows = [
            [LABELS[label], youtube_id, start, start + 10, split] for _, label, youtube_id, start in clips_of(split)
        ]
        rows.append([LABELS[0], "notthere__1", 1, 11, split])
        pages[f"annotations/{split}.csv"] = Page(table([HEADER, *rows]))
    pages["annotations/test.csv"] = Page(table([HEADER[1:], ["cccccccccc1", 0, 10, "test"]]))
    others = {"replacement/of_no_interest_000000_000010.mp4": b"from the test split"}
    pages[REPLACEMENT] = Page(pack({f"replacement/{CORRUPTED[2]}": replaced} | others))
    return pages


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def run(capsys, *arguments):
    """What a command prints; it must not fail."""
    kinetics400.main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def fails(capsys, *arguments, code=1):
    """The message of a command that fails."""
    with pytest.raises(SystemExit) as ended:
        kinetics400.main([str(argument) for argument in arguments])
    assert ended.value.code == code
    return capsys.readouterr().err


def content(root):
    """{path: bytes} of all files but the lock."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def download(address, root):
    return ["download", "--root", root, "--base-url", address, "--wait", 0.01, "--retries", 2, "--timeout", 60]


@pytest.fixture
def downloaded(tmp_path, site, capsys):
    """A root with the archives."""
    with serve(site) as (address, _):
        run(capsys, *download(address, tmp_path / "root"))
    return tmp_path / "root"


@pytest.fixture
def extracted(downloaded, capsys):
    run(capsys, "extract", "--root", downloaded, "--processes", 1)
    return downloaded


@pytest.mark.slow
def test_from_nothing_to_a_list_that_trains(tmp_path, site, originals, capsys):
    root, small = tmp_path / "root", tmp_path / "small"
    with serve(site) as (address, _):
        assert "there; " in run(capsys, *download(address, root))
    assert "3 archives, 0 of them extracted" in run(capsys, "extract", "--root", root)
    printed = run(capsys, "resize", "--root", root, "--out", small, "--short-side", 256, "--processes", 1)
    assert f"1 of 6 videos are broken and left out, with the reasons in {small}/resize-failures.csv" in printed
    assert [row["video"] for row in read_table(small / "resize-failures.csv")] == [f"val/part_0/{name_of(*BROKEN[2:])}"]
    printed = run(capsys, "lists", "--root", small, "--processes", 1)
    assert "train: 3 of 4 annotated videos are there, 1 missing" in printed
    assert "val: 2 of 4 annotated videos are there, 2 missing" in printed
    assert (small / "missing-val.txt").read_text() == f"{name_of(*BROKEN[2:])}\nnotthere__1_000001_000011.mp4\n"
    assert (small / "labels.txt").read_text() == "".join(f"{label}\n" for label in LABELS)
    run(capsys, "verify", "--root", small, "--processes", 1)
    assert (small / "verify.csv").exists()
    recipe = recipes.get("demo_kinetics").with_changes({"num_classes": 2})
    for split, clips in CLIPS.items():
        videos = load_list(recipe, small, split, missing="skip")
        wanted = [(name_of(youtube_id, start), label) for _, label, youtube_id, start in clips]
        assert [(sample.path.name, sample.label) for sample in videos.samples] == wanted
        assert videos.class_names == LABELS
        assert all(sample.probe.frames == 60 for sample in videos.samples)
    assert len(read_probes(small)) == len(originals) - 1


# download


def test_archives_and_annotations_arrive(downloaded, site):
    got = content(downloaded)
    paths = [path for path in site if path.endswith("gz")]
    assert all(got[f"archives/{path}"] == site[path].content for path in paths) and len(paths) == 4
    for split in ("train", "val", "test"):
        assert got[f"annotations/{split}.csv"] == site[f"annotations/{split}.csv"].content
    assert len(read_table(downloaded / "archives/downloads.csv")) == 4


def test_a_list_may_be_a_file_and_archives_lie_elsewhere(tmp_path, site, capsys):
    with serve(site) as (address, _):
        (tmp_path / "my list.txt").write_text(f"{address}/val/part_0.tar.gz\n")
        where = ["--splits", "val", "--list", f"val={tmp_path / 'my list.txt'}", "--archives", tmp_path / "tars"]
        run(capsys, *download(address, tmp_path / "root"), *where)
    assert content(tmp_path / "tars").keys() == {"val/part_0.tar.gz", REPLACEMENT, "downloads.csv"}


def test_failures_are_listed_after_all_other_files_are_fetched(tmp_path, site, capsys):
    for path in ("train/k400_train_path.txt", "annotations/test.csv", REPLACEMENT):
        del site[path]
    with serve(site) as (address, _):
        message = fails(capsys, *download(address, tmp_path))
    for path in ("train/k400_train_path.txt", "annotations/test.csv", REPLACEMENT):
        assert f"{address}/{path}: the server says 404" in message
    assert content(tmp_path).keys() > {"archives/val/part_0.tar.gz", "annotations/train.csv", "annotations/val.csv"}


def test_a_dry_run_fetches_no_archive(tmp_path, site, capsys):
    with serve(site) as (address, _):
        printed = run(capsys, *download(address, tmp_path), "--dry-run")
    assert content(tmp_path) == {} and f"{address}/train/part_1.tar.gz" in printed


@pytest.mark.parametrize(
    "line", ["part_0.tar.gz", "file:///etc/passwd.tar.gz", "http://127.0.0.1/", f"{BASE_URL}/val/part_0.tar.gz"]
)
def test_lines_that_are_no_addresses_are_named(tmp_path, line):
    (tmp_path / "list.txt").write_text(f"{BASE_URL}/val/part_0.tar.gz\n{line}\n")
    with pytest.raises(DataError, match="list.txt, line 2"):
        addresses("val", str(tmp_path / "list.txt"))


def test_addresses_of_the_bucket_are_the_default():
    chosen = kinetics400._parser().parse_args(["download", "--root", "x"])
    assert chosen.base_url == BASE_URL == "https://s3.amazonaws.com/kinetics/400"


def test_a_list_without_its_split_is_refused(tmp_path, capsys):
    message = fails(capsys, "download", "--root", tmp_path, "--list", "list.txt")
    assert "--list list.txt: expected SPLIT=FILE, with one of train, val" in message


# extract


@pytest.mark.slow
def test_videos_lie_below_their_split_and_the_replacement_over_the_corrupted(extracted, originals):
    videos = {path: data for path, data in content(extracted).items() if path.endswith(".mp4")}
    wanted = {
        f"{split}/{part}/{name_of(youtube_id, start)}": originals[split, name_of(youtube_id, start)]
        for split in CLIPS
        for part, _, youtube_id, start in clips_of(split)
    }
    assert videos == wanted
    assert [row["archive"] for row in read_table(extracted / "extracted.csv")] == [
        REPLACEMENT, "train/part_0.tar.gz", "train/part_1.tar.gz", "val/part_0.tar.gz"
    ]  # fmt: skip


@pytest.mark.slow
def test_a_replacement_of_a_video_that_no_archive_had_comes_to_its_split(extracted, site, originals, capsys):
    name = "notthere__1_000001_000011.mp4"
    (extracted / "archives" / REPLACEMENT).write_bytes(pack({name: b"a video"}))
    run(capsys, "extract", "--root", extracted)
    assert (extracted / "val/replacement" / name).read_bytes() == b"a video"


@pytest.mark.slow
def test_the_replacement_is_found_where_the_cvdfs_script_puts_it(downloaded, originals, capsys):
    archives = downloaded / "archives"
    (archives / "replacement").mkdir()
    (archives / REPLACEMENT).rename(archives / "replacement" / REPLACEMENT)
    archives.rename(downloaded / "k400_targz")
    printed = run(capsys, "extract", "--root", downloaded, "--archives", downloaded / "k400_targz", "--processes", 1)
    assert "not replaced" not in printed
    assert (downloaded.joinpath(*CORRUPTED)).read_bytes() == originals["train", CORRUPTED[2]]


@pytest.mark.slow
def test_extracting_again_does_nothing(extracted, capsys):
    times = {path: path.stat().st_mtime_ns for path in extracted.rglob("*.*4")}
    assert "3 archives, 3 of them extracted" in run(capsys, "extract", "--root", extracted)
    assert times == {path: path.stat().st_mtime_ns for path in times}


@pytest.mark.slow
def test_after_another_archive_the_replacement_comes_again(extracted, site, originals, capsys):
    """An archive that came late, with the corrupted video in it."""
    before = content(extracted)
    path = extracted / "archives/train/part_0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(extracted / "annotations/val.csv", "new.txt")
        member = tarfile.TarInfo(CORRUPTED[2])
        member.size = 7
        archive.addfile(member, io.BytesIO(b"corrupt"))
    run(capsys, "extract", "--root", extracted)
    after = content(extracted)
    assert after["/".join(CORRUPTED)] == before["/".join(CORRUPTED)] and "train/part_0/new.txt" in after


@pytest.mark.slow
def test_damaged_and_hostile_archives_are_listed_after_all_others_are_extracted(downloaded, site, originals, capsys):
    train, val = downloaded / "archives/train/part_0.tar.gz", downloaded / "archives/val/part_0.tar.gz"
    train.write_bytes(train.read_bytes()[:-100])
    with tarfile.open(val, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../../../outside.mp4"))
    message = fails(capsys, "extract", "--root", downloaded, "--processes", 1)
    assert "2 of 3 archives are not extracted" in message
    assert f"{train}: damaged or cut short" in message and f"{val}: holds '../../../../outside.mp4'" in message
    assert len(list((downloaded / "train/part_1").glob("*.mp4"))) == 1
    assert not list(downloaded.parent.rglob("outside.mp4"))
    train.write_bytes(site["train/part_0.tar.gz"].content)
    val.write_bytes(site["val/part_0.tar.gz"].content)
    run(capsys, "extract", "--root", downloaded)
    assert (downloaded / "/".join(CORRUPTED)).read_bytes() == originals["train", CORRUPTED[2]]


def test_room_for_the_videos_is_checked_first(downloaded, monkeypatch, capsys):
    monkeypatch.setattr(kinetics_archives.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    message = fails(capsys, "extract", "--root", downloaded)
    assert f"{downloaded}: " in message and "1.0 kB free" in message
    assert not (downloaded / "train").exists()


def test_no_archives_are_an_error(tmp_path, capsys):
    message = fails(capsys, "extract", "--root", tmp_path)
    assert f"{tmp_path}/archives: no .tar.gz archives below train or val" in message


# resize, lists, verify


@pytest.mark.slow
def test_the_originals_are_not_resized_in_their_own_folder(extracted, capsys):
    assert "choose another folder" in fails(capsys, "resize", "--root", extracted, "--out", extracted)


@pytest.mark.slow
def test_every_command_means_the_same_videos(extracted, tmp_path, tmp_path_factory, originals, capsys):
    """A folder on another disk, a video in another container, a corrupted one with its replacement beside the rest."""
    moved = tmp_path_factory.mktemp("disk") / "part_0"
    (extracted / "train/part_0").rename(moved)
    (extracted / "train/part_0").symlink_to(moved)
    corrupted = extracted.joinpath(*CORRUPTED)
    (extracted / "replacement").mkdir()
    (extracted / "replacement" / corrupted.name).write_bytes(corrupted.read_bytes())
    corrupted.write_bytes(b"corrupted")
    other = next(path for path in sorted((extracted / "train").glob("part_*/*.mp4")) if path != corrupted)
    other.rename(other.with_suffix(".mp4.mkv"))
    (extracted / "val").rename(extracted / "videos_val")
    (extracted / "videos_val/part_0" / name_of(*BROKEN[2:])).unlink()
    run(capsys, "lists", "--root", extracted, "--processes", 1)
    run(capsys, "verify", "--root", extracted, "--processes", 1)
    assert {row["verdict"] for row in read_table(extracted / "verify.csv")} == {"ok"}
    listed = {line.split()[0] for line in (extracted / "lists/train.txt").read_text().splitlines()}
    assert {f"replacement/{corrupted.name}", f"train/{other.parent.name}/{other.stem}.mp4.mkv"} < listed
    assert {row["path"] for row in read_table(extracted / "verify.csv")} > listed and len(read_probes(extracted)) == 5
    run(capsys, "resize", "--root", extracted, "--out", tmp_path / "small", "--processes", 1)
    small = {path for path in content(tmp_path / "small") if path.endswith((".mp4", ".mkv"))}
    assert small >= {name.removesuffix(".mkv") for name in listed} and len(small) == 5


@pytest.mark.slow
def test_labels_that_are_there_are_kept(extracted, capsys):
    (extracted / "labels.txt").write_text("".join(f"{label}\n" for label in reversed(LABELS)))
    run(capsys, "lists", "--root", extracted, "--processes", 1)
    assert (extracted / "labels.txt").read_text().startswith(LABELS[1])


def test_lists_without_annotations_say_what_to_do(tmp_path, capsys):
    assert "labels.txt: not there, nor " in fails(capsys, "lists", "--root", tmp_path)


@pytest.mark.parametrize("frames", [1, 5, 64, 65, 300])
def test_verify_asks_for_what_testing_asks_for(frames):
    asked = kinetics400.frames_to_check(frames)
    assert asked[0] == 0 and asked[-1] == frames - 1 and asked == sorted(set(asked))
    assert len(asked) == {1: 1, 5: 5, 64: 9, 65: 17, 300: 81}[frames]


# all commands


def lock_and_hold(root, marker):
    with folder_lock(root):
        hold(marker)


@pytest.mark.slow
def test_two_commands_do_not_work_in_one_folder_and_the_lock_ends_with_its_process(extracted, tmp_path, capsys):
    process = start_process(lock_and_hold, extracted, tmp_path / "marker")
    wait_for((tmp_path / "marker").exists)
    assert f"{extracted}: another command is at work in it" in fails(capsys, "extract", "--root", extracted)
    kill(process)
    run(capsys, "extract", "--root", extracted)


def test_a_folder_that_cannot_be_locked_is_not_reported_as_in_use(tmp_path, capsys):
    (tmp_path / ".lock").mkdir()
    message = fails(capsys, "lists", "--root", tmp_path)
    assert ".lock" in message and "another command" not in message


@pytest.mark.parametrize(
    "command, message",
    [
        (["download", "--threads", 0, "--base-url", "http://127.0.0.1:9", "--retries", 0], "--threads 0"),
        (["extract", "--processes", 0], "--processes 0"),
        (["extract"], "extracted.csv, line 1: expected a header with archive, size, files"),
    ],
)
def test_a_mistake_of_the_user_is_one_line(tmp_path, capsys, command, message):
    (tmp_path / "archives/train").mkdir(parents=True)
    (tmp_path / "archives/train/part_0.tar.gz").write_bytes(pack({"a.mp4": b"a"}))
    if len(command) == 1:
        (tmp_path / "extracted.csv").write_text("something else\n")
    error = fails(capsys, *command, "--root", tmp_path)
    assert message in error and (error.count("\n") == 1 or "--threads" in command)


def test_a_module_that_is_not_installed_is_a_message(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise ModuleNotFoundError("No module named 'decord'")

    monkeypatch.setattr(kinetics400, "lists", fail)
    assert fails(capsys, "lists", "--root", tmp_path) == "No module named 'decord'\n"


def test_an_interrupt_says_how_to_resume(tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(kinetics400, "extract", interrupt)
    assert "the same command resumes" in fails(capsys, "extract", "--root", tmp_path, code=130)


# Killed in the middle


@pytest.fixture
def big_site(site):
    """With several files in each archive."""
    rng = np.random.default_rng(0)
    for path in ("train/part_0.tar.gz", "train/part_1.tar.gz", "val/part_0.tar.gz"):
        split, part = path.removesuffix(".tar.gz").split("/")
        site[path].content = pack({f"{split}{part}-{i}.mp4": rng.bytes(100_000 + i) for i in range(3)})
    site[REPLACEMENT].content = pack({f"trainpart_0-{i}.mp4": rng.bytes(100_000) for i in range(2)})
    return site


@pytest.mark.slow
def test_a_download_that_is_killed_resumes_and_ends_with_the_same_bytes(tmp_path, big_site, capsys):
    root, archive_paths = tmp_path / "killed", [path for path in big_site if path.endswith("tar.gz")]
    with serve(big_site) as (address, _):
        run(capsys, *download(address, tmp_path / "undisturbed"))
        for path in archive_paths:
            big_site[path].stalls = [40_000, 50_000]
            big_site[path].requests.clear()
        arguments = [str(argument) for argument in [*download(address, root), "--timeout", 2 * PATIENCE]]
        before = {}
        for _ in range(2):
            process = start_process(kinetics400.main, arguments)
            wait_for(lambda: has_grown(root, before, len(archive_paths)) or not process.is_alive())  # noqa: B023
            assert process.is_alive()
            kill(process)
            before = sizes_by_path(root)
        run(capsys, *download(address, root))
    assert content(root) == content(tmp_path / "undisturbed")
    for path in archive_paths:
        spans = [span for method, span in big_site[path].requests if method == "GET"]
        assert (
            spans[0] == "" and len(spans) == 3 and all(re.fullmatch("bytes=[1-9][0-9]*-", span) for span in spans[1:])
        )


def sizes_by_path(root):
    return {path: path.stat().st_size for path in root.rglob("*.tar.gz.part")}


def has_grown(root, before, count):
    """Whether that many parts are larger than before; the server holds back the rest of each."""
    sizes = sizes_by_path(root)
    return sum(size > before.get(path, 0) for path, size in sizes.items()) == count


def hold_in_second_file(marker):
    """From now on this process stops in the middle of the second file that it unpacks."""
    copies, copy_whole = [], shutil.copyfileobj

    def copy(source, target, length):
        copies.append(target)
        if len(copies) < 2:
            return copy_whole(source, target, length)
        target.write(source.read(1000))
        target.flush()
        hold(marker)

    archives.shutil.copyfileobj = copy


EXTRACT_ARCHIVE = kinetics_archives._extract_archive
EXTRACT_REPLACEMENT = kinetics_archives._extract_replacement


def extract_archive_and_hold(held_archive, marker, root, archive):
    if archive[0] == held_archive:
        hold_in_second_file(marker)
    return EXTRACT_ARCHIVE(root, archive)


def extract_replacement_and_hold(marker, *arguments):
    hold_in_second_file(marker)
    EXTRACT_REPLACEMENT(*arguments)


def extract_and_hold(root, held_archive, marker):
    """Stops in the second file of this archive."""
    if held_archive == REPLACEMENT:
        kinetics_archives._extract_replacement = partial(extract_replacement_and_hold, marker)
    else:
        kinetics_archives._extract_archive = partial(extract_archive_and_hold, held_archive, marker)
    kinetics400.main(["extract", "--root", str(root), "--processes", "1"])


@pytest.mark.slow
def test_extracting_that_is_killed_resumes_and_ends_with_the_same_bytes(tmp_path, big_site, capsys):
    with serve(big_site) as (address, _):
        for root in ("undisturbed", "killed"):
            run(capsys, *download(address, tmp_path / root))
    run(capsys, "extract", "--root", tmp_path / "undisturbed", "--processes", 2)
    root, marker = tmp_path / "killed", tmp_path / "marker"
    for archive, records in (("train/part_0.tar.gz", 0), ("val/part_0.tar.gz", 2), (REPLACEMENT, 3)):
        kill_at(marker, with_forked_workers, extract_and_hold, root, archive, marker)
        assert len(read_table(root / "extracted.csv")) == records
        assert [path.stat().st_size for path in root.rglob(".*.mp4.partial")] == [1000]
    run(capsys, "extract", "--root", root, "--processes", 2)
    assert content(root) == content(tmp_path / "undisturbed")


RESIZE_ONE = resizing._resize_one


def resize_one_and_hold(held_video, marker, source, target, short_side, crf, names):
    if names[0] == held_video:
        frames, next_time = [], resizing._next_time

        def next_time_or_hold(*arguments):
            frames.append(arguments)
            if len(frames) == 40:
                hold(marker)
            return next_time(*arguments)

        resizing._next_time = next_time_or_hold
    return RESIZE_ONE(source, target, short_side, crf, names)


def resize_and_hold(arguments, held_video, marker):
    """Stops in the middle of this video."""
    resizing._resize_one = partial(resize_one_and_hold, held_video, marker)
    kinetics400.main(arguments)


@pytest.mark.slow
def test_resizing_that_is_killed_resumes_and_ends_with_the_same_bytes(tmp_path, extracted, capsys):
    commands = {
        target: ["resize", "--root", str(extracted), "--out", str(tmp_path / target), "--processes", "1"]
        for target in ("undisturbed", "killed")
    }
    run(capsys, *commands["undisturbed"])
    videos = sorted(path for path in content(tmp_path / "undisturbed") if path.endswith(".mp4"))
    marker = tmp_path / "marker"
    for number in (1, 3):
        kill_at(marker, with_forked_workers, resize_and_hold, commands["killed"], videos[number], marker)
        names = [path.name for path in (tmp_path / "killed").rglob("*.mp4*")]
        assert len(names) == number + 1 and f".{Path(videos[number]).name}.partial" in names
    run(capsys, *commands["killed"])
    assert content(tmp_path / "killed") == content(tmp_path / "undisturbed")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_tables_and_lists_of_archives_may_have_been_saved_by_other_programs(tmp_path, encoding):
    path = tmp_path / "k400_train_path.txt"
    path.write_text(f"{BASE_URL}/train/part_0.tar.gz\r\n", encoding=encoding)
    assert addresses("train", str(path)) == {"train/part_0.tar.gz": f"{BASE_URL}/train/part_0.tar.gz"}
    path.write_text("label,youtube_id\r\ncrêpe,x\r\n", encoding=encoding)
    assert read_table(path, ("label",)) == [{"label": "crêpe", "youtube_id": "x"}]
    path.write_bytes("label,youtube_id\ncrêpe,x\n".encode("cp1252"))
    with pytest.raises(DataError, match=f"{path}, line 2: not text in UTF-8"):
        read_table(path, ("label",))


@pytest.mark.slow
def test_lists_says_which_videos_are_annotated_twice_and_for_both_splits(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "k/annotations").mkdir(parents=True)
    rows = {"train": [("a", "aaaaaaaaaa1"), ("a", "aaaaaaaaaa2"), ("a", "aaaaaaaaaa2")], "val": [("a", "aaaaaaaaaa1")]}
    for split, clips in rows.items():
        listed = [HEADER, *((label, name, 5, 15, split) for label, name in clips)]
        (tmp_path / f"k/annotations/{split}.csv").write_bytes("\ufeff".encode() + table(listed))
        (tmp_path / "k" / split).mkdir()
        for _, name in clips:
            write_footage(tmp_path / "k" / split / name_of(name, 5), frames=12)
    kinetics400.main(["lists", "--root", "~/k", "--processes", "1"])
    output = capsys.readouterr().out
    assert "train: videos listed more than once: 1 (aaaaaaaaaa2_000005_000015)" in output
    both = "videos both in the list for training and in that for validation: 1"
    assert f"{both} (aaaaaaaaaa1_000005_000015)" in output
    assert (tmp_path / "k/labels.txt").read_text() == "a\n"

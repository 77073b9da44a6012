import csv
import fcntl
import io
import tarfile
import time
from fractions import Fraction
from multiprocessing import get_context

import numpy as np
import pytest
from support.fileserver import Page, serve

from data_scripts import kinetics400
from data_scripts.steps import kinetics_archives
from data_scripts.steps.kinetics_archives import BASE_URL, REPLACEMENT, addresses
from data_scripts.steps.tables import read_table
from tanet import recipes
from tanet.data import load_list, read_probes
from tanet.demo.footage import KINETICS_PAIRS, draw_clip, write_video
from tanet.errors import DataError

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
            frames = draw_clip(KINETICS_PAIRS[0][2], label == 1, 60, (96, 80), rng)
            write_video(folder / "a.mp4", frames, Fraction(25))
            made[split, name_of(youtube_id, start)] = (folder / "a.mp4").read_bytes()
    return made | {("val", name_of(*BROKEN[2:])): b"no video"}


def clips_of(split):
    return CLIPS[split] + [BROKEN] * (split == "val")


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
    """What a command says; it must end well."""
    kinetics400.main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def fails(capsys, *arguments, code=1):
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
    return ["download", "--root", root, "--base-url", address, "--wait", 0.01, "--retries", 2, "--timeout", 5]


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


def test_from_nothing_to_a_list_that_trains(tmp_path, site, originals, capsys):
    root, small = tmp_path / "root", tmp_path / "small"
    with serve(site) as (address, _):
        assert "there; " in run(capsys, *download(address, root))
    assert "3 archives, 0 of them extracted" in run(capsys, "extract", "--root", root)
    said = run(capsys, "resize", "--root", root, "--out", small, "--short-side", 256, "--processes", 1)
    assert f"1 of 6 videos are broken and left out, with the reasons in {small}/resize-failures.csv" in said
    assert [row["video"] for row in read_table(small / "resize-failures.csv")] == [f"val/part_0/{name_of(*BROKEN[2:])}"]
    said = run(capsys, "lists", "--root", small, "--processes", 1)
    assert "train: 3 of 4 annotated videos are there, 1 missing" in said
    assert "val: 2 of 4 annotated videos are there, 2 missing" in said
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
    archives = [path for path in site if path.endswith("gz")]
    assert all(got[f"archives/{path}"] == site[path].content for path in archives) and len(archives) == 4
    for split in ("train", "val", "test"):
        assert got[f"annotations/{split}.csv"] == site[f"annotations/{split}.csv"].content
    assert len(read_table(downloaded / "archives/downloads.csv")) == 4


def test_a_list_may_be_a_file_and_archives_lie_elsewhere(tmp_path, site, capsys):
    with serve(site) as (address, _):
        (tmp_path / "my list.txt").write_text(f"{address}/val/part_0.tar.gz\n")
        where = ["--splits", "val", "--list", f"val={tmp_path / 'my list.txt'}", "--archives", tmp_path / "tars"]
        run(capsys, *download(address, tmp_path / "root"), *where)
    assert content(tmp_path / "tars").keys() == {"val/part_0.tar.gz", REPLACEMENT, "downloads.csv"}


def test_what_fails_is_listed_after_all_else_is_fetched(tmp_path, site, capsys):
    for path in ("train/k400_train_path.txt", "annotations/test.csv", REPLACEMENT):
        del site[path]
    with serve(site) as (address, _):
        said = fails(capsys, *download(address, tmp_path))
    for path in ("train/k400_train_path.txt", "annotations/test.csv", REPLACEMENT):
        assert f"{address}/{path}: the server says 404" in said
    assert content(tmp_path).keys() > {"archives/val/part_0.tar.gz", "annotations/train.csv", "annotations/val.csv"}


def test_a_dry_run_fetches_no_archive(tmp_path, site, capsys):
    with serve(site) as (address, _):
        said = run(capsys, *download(address, tmp_path), "--dry-run")
    assert content(tmp_path) == {} and f"{address}/train/part_1.tar.gz" in said


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
    said = fails(capsys, "download", "--root", tmp_path, "--list", "list.txt")
    assert "--list list.txt: expected SPLIT=FILE, with one of train, val" in said


# extract


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


def test_a_replacement_of_a_video_that_no_archive_had_comes_to_its_split(extracted, site, originals, capsys):
    name = "notthere__1_000001_000011.mp4"
    (extracted / "archives" / REPLACEMENT).write_bytes(pack({name: b"a video"}))
    run(capsys, "extract", "--root", extracted)
    assert (extracted / "val/replacement" / name).read_bytes() == b"a video"


def test_extracting_again_does_nothing(extracted, capsys):
    times = {path: path.stat().st_mtime_ns for path in extracted.rglob("*.*4")}
    assert "3 archives, 3 of them extracted" in run(capsys, "extract", "--root", extracted)
    assert times == {path: path.stat().st_mtime_ns for path in times}


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


def test_damaged_and_hostile_archives_are_listed_after_all_else_is_extracted(downloaded, site, originals, capsys):
    train, val = downloaded / "archives/train/part_0.tar.gz", downloaded / "archives/val/part_0.tar.gz"
    train.write_bytes(train.read_bytes()[:-100])
    with tarfile.open(val, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../../../outside.mp4"))
    said = fails(capsys, "extract", "--root", downloaded, "--processes", 1)
    assert "2 of 3 archives are not extracted" in said
    assert f"{train}: damaged or cut short" in said and f"{val}: holds '../../../../outside.mp4'" in said
    assert len(list((downloaded / "train/part_1").glob("*.mp4"))) == 1
    assert not list(downloaded.parent.rglob("outside.mp4"))
    train.write_bytes(site["train/part_0.tar.gz"].content)
    val.write_bytes(site["val/part_0.tar.gz"].content)
    run(capsys, "extract", "--root", downloaded)
    assert (downloaded / "/".join(CORRUPTED)).read_bytes() == originals["train", CORRUPTED[2]]


def test_room_for_the_videos_is_checked_first(downloaded, monkeypatch, capsys):
    monkeypatch.setattr(kinetics_archives.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    assert f"{downloaded}: " in (said := fails(capsys, "extract", "--root", downloaded)) and "1.0 kB free" in said
    assert not (downloaded / "train").exists()


def test_no_archives_are_an_error(tmp_path, capsys):
    said = fails(capsys, "extract", "--root", tmp_path)
    assert f"{tmp_path}/archives: no .tar.gz archives below train or val" in said


# resize, lists, verify


def test_the_originals_are_not_resized_in_their_own_folder(extracted, capsys):
    assert "choose another folder" in fails(capsys, "resize", "--root", extracted, "--out", extracted)


def test_labels_that_are_there_are_kept(extracted, capsys):
    (extracted / "labels.txt").write_text("".join(f"{label}\n" for label in reversed(LABELS)))
    run(capsys, "lists", "--root", extracted, "--processes", 1)
    assert (extracted / "labels.txt").read_text().startswith(LABELS[1])


def test_lists_without_annotations_say_what_to_do(tmp_path, capsys):
    assert "labels.txt: not there, nor " in fails(capsys, "lists", "--root", tmp_path)


@pytest.mark.parametrize("frames", [1, 5, 64, 65, 300])
def test_verify_asks_for_what_testing_asks_for(frames):
    asked = kinetics400.asked_for(frames)
    assert asked[0] == 0 and asked[-1] == frames - 1 and asked == sorted(set(asked))
    assert len(asked) == {1: 1, 5: 5, 64: 9, 65: 17, 300: 81}[frames]


# whatever command


def test_two_commands_do_not_work_in_one_folder(extracted, capsys):
    with open(extracted / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert f"{extracted}: another command is at work in it" in fails(capsys, "extract", "--root", extracted)
    run(capsys, "extract", "--root", extracted)


def test_an_interrupt_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(kinetics400, "extract", interrupt)
    assert "the same command goes on" in fails(capsys, "extract", "--root", tmp_path, code=130)


# Killed at any moment

PROCESSES = get_context("forkserver")  # new processes in milliseconds, with all imports done
PROCESSES.set_forkserver_preload(["data_scripts.kinetics400"])


def start(arguments):
    process = PROCESSES.Process(target=kinetics400.main, args=([str(argument) for argument in arguments],))
    process.start()
    return process


def run_with_kills(arguments, root, kills, seed, seconds):
    """Runs a command that is killed so many times, up to so many `seconds` after it changed the first thing."""
    rng = np.random.default_rng(seed)
    for _ in range(kills):
        before, process = state(root), start(arguments)
        while process.is_alive() and state(root) == before:
            time.sleep(0.001)
        process.join(rng.uniform(0, seconds))
        process.kill()
        process.join()
    process = start(arguments)
    process.join()
    assert process.exitcode == 0


def state(root):
    return {path: path.stat().st_size for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def big_site(site):
    """With enough to do for kills in the middle of it."""
    rng = np.random.default_rng(0)
    for path in ("train/part_0.tar.gz", "train/part_1.tar.gz", "val/part_0.tar.gz"):
        split, part = path.removesuffix(".tar.gz").split("/")
        site[path].content = pack({f"{split}{part}-{i}.mp4": rng.bytes(1_500_000 + i) for i in range(3)})
    site[REPLACEMENT].content = pack({f"trainpart_0-{i}.mp4": rng.bytes(1_500_000) for i in range(2)})
    return site


def test_a_download_that_is_killed_goes_on_and_ends_with_the_same_bytes(tmp_path, big_site, capsys):
    with serve(big_site) as (address, _):
        run(capsys, *download(address, tmp_path / "undisturbed"))
        for page in big_site.values():
            page.pause = 0.02  # a file takes longer than until the kill
            page.requests.clear()
        run_with_kills(download(address, tmp_path / "killed"), tmp_path / "killed", 10, 1, 0.5)
    assert content(tmp_path / "killed") == content(tmp_path / "undisturbed")
    assert any(span for page in big_site.values() for _, span in page.requests)  # it did go on


def test_extracting_that_is_killed_goes_on_and_ends_with_the_same_bytes(tmp_path, big_site, capsys):
    with serve(big_site) as (address, _):
        for root in ("undisturbed", "killed"):
            run(capsys, *download(address, tmp_path / root))
    run(capsys, "extract", "--root", tmp_path / "undisturbed", "--processes", 2)
    run_with_kills(["extract", "--root", tmp_path / "killed", "--processes", 2], tmp_path / "killed", 8, 2, 0.1)
    assert content(tmp_path / "killed") == content(tmp_path / "undisturbed")


def test_resizing_that_is_killed_goes_on_and_ends_with_the_same_bytes(tmp_path, extracted, capsys):
    for target in ("undisturbed", "killed"):
        command = ["resize", "--root", extracted, "--out", tmp_path / target, "--processes", 1]
        if target == "undisturbed":
            run(capsys, *command)
    run_with_kills(command, tmp_path / "killed", 2, 3, 0.2)
    assert content(tmp_path / "killed") == content(tmp_path / "undisturbed")

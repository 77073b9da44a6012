"""Every video gets a verdict, also if its decoder hangs or crashes; a verification that is killed resumes."""

import os
import shutil
import signal
import time
from functools import partial

import pytest
from PIL import Image
from support.footage import write_footage
from support.moments import PATIENCE, hold, kill_at, start_process, wait_for, with_forked_workers

from data_scripts import something
from tanet.data import Row, read_rows
from tanet.errors import DataError
from tanet.prepare import verifying as module
from tanet.prepare import workers
from tanet.prepare.list_writing import write_lists
from tanet.prepare.verifying import check_video, verify

pytestmark = pytest.mark.slow
GOOD, ALL = ["1", "2", 'it\'s "ö"'], ["1", "2", "3", "4", 'it\'s "ö"']


def frames(folder, count, quality=90):
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        Image.effect_noise((16, 12), 50).convert("RGB").save(folder / f"{number:05d}.jpg", quality=quality)


@pytest.fixture
def root(tmp_path):
    """Five folders of frames: one has lost its last frame since it was listed, one has a frame that is cut short."""
    for name in ALL:
        frames(tmp_path / name, 9)
    write_lists(tmp_path, {"train": [(name, 0) for name in ALL]}, 1)
    (tmp_path / "3/00009.jpg").unlink()
    broken = tmp_path / "4/00005.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    return tmp_path


def every(total):
    return list(range(total))


def first(total):
    return [0]


def paths(root):
    return [root / name for name in ALL]


def test_bad_videos_are_listed_with_their_reasons_and_left_out_of_the_list(root, capsys):
    verdicts = verify(root, paths(root), every, 2)
    assert [verdicts[root / name].verdict for name in ALL] == ["ok", "ok", "bad", "bad", "ok"]
    assert verdicts[root / "3"].reason == "8 frames in it, 9 by the list; some are missing"
    assert verdicts[root / "4"].reason.startswith("00005.jpg: cannot be read as JPEG")
    assert [verdicts[root / name].frames for name in ALL] == [9, 9, 8, 9, 9]
    assert read_rows(root / "lists/train.verified.txt") == [Row(name, 9, 0) for name in GOOD]
    assert "3 of 5 videos are good; 2 bad, see verify.csv" in capsys.readouterr().out


def test_only_the_chosen_frames_are_read(root):
    assert verify(root, paths(root), first, 1)[root / "4"].verdict == "ok"


def misbehave(job):
    path, _ = job
    if path.name == "2":
        time.sleep(PATIENCE)
    if path.name == "3":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.name == "4":
        raise MemoryError("as a decoder may")
    return "", 9, "jpeg"


def guarded(job):
    return check_video(raises, job) if job[0].name == "4" else misbehave(job)


def raises(total):
    raise MemoryError("as a decoder may")


def test_a_decoder_that_hangs_or_crashes_is_a_verdict_and_the_others_go_on(root, clock, monkeypatch):
    def run_in_workers(function, jobs, processes, seconds):
        """The time of the video that hangs runs out when all others are done."""
        for number, result in enumerate(workers.run_in_workers(function, jobs, processes, seconds), 2):
            yield result
            if number == len(jobs):
                clock.run_out()

    monkeypatch.setattr(module, "run_in_workers", run_in_workers)
    verdicts = verify(root, paths(root), every, 2, seconds=PATIENCE, check=guarded)
    assert [verdicts[root / name].verdict for name in ALL] == ["ok", "hangs", "crashes", "bad", "ok"]
    assert "SIGSEGV" in verdicts[root / "3"].reason and f"{PATIENCE:g} seconds" in verdicts[root / "2"].reason
    assert verdicts[root / "4"].reason == "MemoryError: as a decoder may"


def must_not_be_read(job):
    raise AssertionError(f"{job} is read again")


def test_verified_videos_are_not_read_again_unless_they_changed_or_all_are_asked_for(root, capsys):
    before = verify(root, paths(root), every, 1)
    assert verify(root, paths(root), every, 1, check=must_not_be_read) == before
    assert "5 videos, 5 of them verified already" in capsys.readouterr().out
    frames(root / "new", 9)
    (root / "4/00005.jpg").write_bytes((root / "4/00004.jpg").read_bytes())
    after = verify(root, paths(root), every, 1)
    assert after[root / "4"].verdict == "ok"
    assert before.pop(root / "4") != after.pop(root / "4") and after == before
    with pytest.raises(AssertionError, match="is read again"):
        verify(root, paths(root), every, 1, again=True, check=must_not_be_read)


def test_a_row_that_a_kill_cut_short_is_verified_again_and_one_that_makes_no_sense_is_named(root):
    before, table = verify(root, paths(root), every, 1), root / "verify.csv"
    whole = table.read_bytes()
    for keep in (len(whole) - 3, 70, 10):
        table.write_bytes(whole[:keep])
        assert verify(root, paths(root), every, 1) == before and table.read_bytes() == whole
    table.write_bytes(whole.replace(b",9,", b",nine,", 1))
    with pytest.raises(DataError, match=f"{table}, line 2: not a verdict; remove the file"):
        verify(root, paths(root), every, 1)


def test_a_reason_is_one_line_of_the_table(root):
    verify(root, paths(root), raises_in_lines, 1)
    assert rows(root) == 6


def raises_in_lines(total):
    raise ValueError("one\ntwo")


def raises_import(total):
    raise ModuleNotFoundError("No module named 'decord'")


def test_a_decoder_that_is_not_installed_is_no_verdict_on_the_videos(root):
    with pytest.raises(ImportError, match="decord"):
        verify(root, paths(root), raises_import, 1)


def check_or_hold(held_name, marker, choose_frames, job):
    """Stops at the video of that name."""
    if job[0].name == held_name:
        hold(marker)
    return check_video(choose_frames, job)


def numbered(root):
    return sorted(path for path in root.iterdir() if path.name.isdigit())


def verify_and_hold(root, number, marker):
    """Stops in the video of that number, counted from 0."""
    check = partial(check_or_hold, numbered(root)[number].name, marker, every)
    verify(root, numbered(root), every, 1, check=check)


def test_verifying_that_is_killed_resumes_and_ends_with_the_same_bytes(tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for name in range(20):
        frames(undisturbed / str(name), 2 + name % 3)
        if name % 7 == 0:
            (undisturbed / str(name) / "00002.jpg").write_bytes(b"x" * 300)
    shutil.copytree(undisturbed, killed)
    verify(undisturbed, numbered(undisturbed), every, 2)
    for number in (0, 5, 6, 19):
        kill_at(tmp_path / "marker", with_forked_workers, verify_and_hold, killed, number, tmp_path / "marker")
        assert rows(killed) == 1 + number  # the header, and those before it
    verify(killed, numbered(killed), every, 2)
    assert rows(killed) == 21 and (undisturbed / "verify.csv").read_bytes() == (killed / "verify.csv").read_bytes()


def rows(root):
    return (root / "verify.csv").read_bytes().count(b"\n")


def test_the_demo_data_pass(something_root, linked, capsys):
    something.verify("v1", linked(something_root), 2)
    assert "48 of 48 videos are good" in capsys.readouterr().out


def verify_interruptibly(root, marker, errors):
    """Stops at video 3; writes what goes to stderr into the file `errors`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background commands with SIGINT ignored
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    module.check_video = partial(check_or_hold, "3", marker)
    something.main(["v1", "verify", "--root", str(root), "--processes", "2"])


def test_ctrl_c_says_how_to_resume(something_root, linked, tmp_path):
    root, marker, errors = linked(something_root), tmp_path / "marker", tmp_path / "errors.txt"
    process = start_process(with_forked_workers, verify_interruptibly, root, marker, errors)
    wait_for(lambda: marker.exists() or not process.is_alive())
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    process.join(PATIENCE)
    assert process.exitcode == 130
    assert "the same command resumes" in errors.read_text() and "Traceback" not in errors.read_text()


def test_the_listed_number_of_frames_is_a_check_of_folders_and_not_of_files(tmp_path):
    frames(tmp_path / "folder", 3)
    write_footage(tmp_path / "file.mp4", frames=30)
    assert check_video(first, (tmp_path / "file.mp4", 31)) == ("", 30, "h264")
    assert check_video(first, (tmp_path / "folder", 4))[0] == "3 frames in it, 4 by the list; some are missing"


def test_verdicts_that_a_spreadsheet_has_saved_are_read(root):
    verdicts = verify(root, paths(root), every, 1)
    table = root / "verify.csv"
    table.write_text(table.read_text(), encoding="utf-8-sig", newline="\r\n")
    assert verify(root, paths(root), first, 1) == verdicts  # none is verified again: 4 would pass now

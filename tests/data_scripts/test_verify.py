"""Every video gets a verdict, whatever its decoder does; a verification that is killed goes on."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from data_scripts import something
from data_scripts.steps.probing import write_lists
from data_scripts.steps.verify import check_video, verify
from tanet.data import Row, read_rows
from tanet.errors import DataError

FORKED = multiprocessing.get_context("forkserver")  # new processes in milliseconds, with all imports done
FORKED.set_forkserver_preload(["data_scripts.verify"])
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
    write_lists(tmp_path, {"train": [(name, 9, 0) for name in ALL]}, 1)
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


def test_bad_videos_are_told_with_their_reasons_and_left_out_of_the_list(root, capsys):
    verdicts = verify(root, paths(root), every, 2)
    assert [verdicts[root / name].verdict for name in ALL] == ["ok", "ok", "bad", "bad", "ok"]
    assert verdicts[root / "3"].reason == "8 frames in it, 9 by the list; some are missing"
    assert verdicts[root / "4"].reason.startswith("00005.jpg: cannot be read as JPEG")
    assert [verdicts[root / name].frames for name in ALL] == [9, 9, 8, 9, 9]
    assert read_rows(root / "lists/train.verified.txt") == [Row(name, 9, 0) for name in GOOD]
    assert "3 of 5 videos are good; 2 bad, see verify.csv" in capsys.readouterr().out


def test_only_the_frames_that_are_asked_for_are_read(root):
    assert verify(root, paths(root), first, 1)[root / "4"].verdict == "ok"


def misbehave(job):
    path, _ = job
    if path.name == "2":
        time.sleep(3600)
    if path.name == "3":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.name == "4":
        raise MemoryError("as a decoder may")
    return "", 9, "jpeg"


def guarded(job):
    return check_video(raises, job) if job[0].name == "4" else misbehave(job)


def raises(total):
    raise MemoryError("as a decoder may")


def test_a_decoder_that_hangs_or_crashes_is_a_verdict_and_the_others_go_on(root):
    verdicts = verify(root, paths(root), every, 2, seconds=1.0, check=guarded)
    assert [verdicts[root / name].verdict for name in ALL] == ["ok", "hangs", "crashes", "bad", "ok"]
    assert "SIGSEGV" in verdicts[root / "3"].reason and "1 seconds" in verdicts[root / "2"].reason
    assert verdicts[root / "4"].reason == "MemoryError: as a decoder may"


def must_not_be_read(job):
    raise AssertionError(f"{job} is read again")


def test_what_is_verified_is_not_read_again_unless_it_changed_or_is_asked_for(root, capsys):
    before = verify(root, paths(root), every, 1)
    assert verify(root, paths(root), every, 1, check=must_not_be_read) == before
    assert "5 videos, 5 of them verified already" in capsys.readouterr().out
    frames(root / "new", 9)
    (root / "4/00005.jpg").write_bytes((root / "4/00004.jpg").read_bytes())
    after = verify(root, paths(root), every, 1)
    assert after[root / "4"].verdict == "ok"
    assert {p: row for p, row in after.items() if p.name != "4"} == {
        p: row for p, row in before.items() if p.name != "4"
    }
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


def slow(job):
    time.sleep(0.03)
    return check_video(every, job)


def verify_slowly(root):
    os.setsid()
    verify(root, sorted(path for path in root.iterdir() if path.name.isdigit()), every, 2, check=slow)


def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_bytes(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for name in range(30):
        frames(one / str(name), 2 + name % 3)
        if name % 7 == 0:
            (one / str(name) / "00002.jpg").write_bytes(b"x" * 300)
    shutil.copytree(one, other)
    verify_in_child(one).join()
    rng, kills, seen = random.Random(0), 0, set()
    while kills < 6:
        before, child = rows(other), verify_in_child(other)
        while child.is_alive() and rows(other) == before:
            time.sleep(0.002)
        child.join(rng.uniform(0, 0.1))
        if child.is_alive():
            os.killpg(child.pid, signal.SIGKILL)
            kills += 1
        child.join()
        seen.add(rows(other))
        if child.exitcode == 0:
            break
    child = verify_in_child(other)
    child.join()
    assert child.exitcode == 0 and len(seen) == kills >= 4  # it came further each time
    assert (one / "verify.csv").read_bytes() == (other / "verify.csv").read_bytes()


def verify_in_child(root):
    child = FORKED.Process(target=verify_slowly, args=(root,))
    child.start()
    while child.is_alive() and os.getpgid(child.pid) != child.pid:  # it has a session of its own by then
        time.sleep(0.01)
    return child


def rows(root):
    path = root / "verify.csv"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_the_demo_data_pass(something_root, linked, capsys):
    something.verify("v1", linked(something_root), 2)
    assert "48 of 48 videos are good" in capsys.readouterr().out


# Shells start what they put in the background deaf to Ctrl-C, and so its children.
INTERRUPTIBLE = """
import signal
from data_scripts.something import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


def test_ctrl_c_says_how_to_go_on(something_root, linked):
    command = [sys.executable, "-c", INTERRUPTIBLE, "v1", "verify", "--root", str(linked(something_root))]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "verified already" not in (line := child.stdout.readline()):
        assert line or child.poll() is None
    child.send_signal(signal.SIGINT)
    said = child.communicate(timeout=60)[1]
    assert child.returncode == 130 and "the same command goes on" in said

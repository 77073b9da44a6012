"""Disks of all kinds: locks, errors of a network, targets that cannot be written."""

import errno
import fcntl
import os

import pytest
from filelock import Timeout
from support.children import start, wait, wait_until

from tanet.runtime import atomic_write, check_writable, exists, file_status, locked

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # Lustre without -o flock, NFS, FUSE, sshfs


@pytest.mark.parametrize("error", NO_LOCKS)
def test_on_a_disk_without_locks_the_block_runs_and_a_line_says_so(tmp_path, monkeypatch, capsys, error):
    def flock(file, how):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path / ".lock"), locked(tmp_path / ".lock"):
        pass
    first, second = capsys.readouterr().out.splitlines()
    assert first == second and first.startswith(f"{tmp_path}: its disk has no file locks ({os.strerror(error)})")
    assert not list(tmp_path.iterdir())  # no file is left that a later command would take for a lock


def hold_lock(folder):
    with locked(folder / ".lock"):
        (folder / "held").touch()
        wait_until((folder / "release").exists)


@pytest.mark.slow
def test_a_lock_that_another_process_holds_is_busy_until_that_ends(tmp_path, capsys):
    child = start(hold_lock, tmp_path)
    wait_until((tmp_path / "held").exists, child)
    with pytest.raises(Timeout), locked(tmp_path / ".lock"):
        pytest.fail("two hold it")
    (tmp_path / "release").touch()
    assert wait(child) == [0]
    with locked(tmp_path / ".lock"):
        assert capsys.readouterr().out == ""


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.EACCES])
def test_a_busy_lock_is_no_missing_one(tmp_path, monkeypatch, capsys, error):
    """Some disks say that a lock is held by EACCES."""

    def flock(file, how):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(Timeout), locked(tmp_path / ".lock"):
        pytest.fail("it is held")
    assert capsys.readouterr().out == ""


def test_what_is_not_there_is_told_from_what_cannot_be_asked(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    assert file_status(tmp_path / "file").st_size == 0 and exists(tmp_path)
    for name in ("none", "file/below", "link"):
        assert file_status(tmp_path / name) is None and not exists(tmp_path / name)
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with pytest.raises(OSError, match="round"):
        exists(tmp_path / "round")
    for error in (errno.ESTALE, errno.EIO, errno.EACCES, errno.ETIMEDOUT, errno.EHOSTDOWN):
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", lambda path, error=error: (_ for _ in ()).throw(OSError(error, "it says")))
            with pytest.raises(OSError, match="it says .*not known whether.*none") as failure:
                exists(tmp_path / "none")
            assert failure.value.errno == error


def test_a_target_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(IsADirectoryError, match=f"is a folder.*{tmp_path}"):
        check_writable(tmp_path)
    with pytest.raises(NotADirectoryError, match=f"result.json cannot lie in it: '{tmp_path}/file'"):
        check_writable(tmp_path / "file/result.json")
    with pytest.raises(IsADirectoryError, match="name a file"), atomic_write(tmp_path):
        pytest.fail("writes")
    check_writable(tmp_path / "new/folder/result.json")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "new"]  # and no file of its own

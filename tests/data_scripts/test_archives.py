import gzip
import io
import os
import tarfile

import numpy as np
import pytest

from data_scripts.steps import archives
from data_scripts.steps.archives import ArchiveError, extract_tar

RNG = np.random.default_rng(0)
FILES = {f"videos/{name}.mp4": RNG.bytes(3000 + 700 * i) for i, name in enumerate(["a", "b", "-c_1", "é ' d", "e"])}


def member(name, kind=tarfile.REGTYPE, link="", size=0):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def tar(files=FILES, *others, mode="w:gz"):
    """The bytes of an archive of {name: content} and then of `others`, members without content or (member, content)."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        for name, content in files.items():
            archive.addfile(member(name, size=len(content)), io.BytesIO(content))
        for other in others:
            archive.addfile(other)
    return made.getvalue()


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def target(tmp_path):
    return tmp_path / "target"


@pytest.fixture
def source(tmp_path):
    return tmp_path / "part_0.tar.gz"


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_files_come_out_as_they_went_in(source, target, mode):
    source.write_bytes(tar(mode=mode))
    assert extract_tar(source, target) == len(FILES)
    assert content(target) == FILES


class Joined(io.RawIOBase):
    """A stream that only reads forwards, as joined parts do."""

    name = "part-00 ... part-02"

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.data.readinto(memoryview(buffer)[:1000])


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_streams_are_read_forwards_and_left_open(target, mode):
    stream = Joined(tar(mode=mode))
    assert extract_tar(stream, target) == len(FILES) and content(target) == FILES
    assert not stream.closed


def test_apple_junk_is_skipped(source, target):
    source.write_bytes(tar({"._a.mp4": b"x", "__MACOSX/a.mp4": b"x", "v/._b/c.mp4": b"x", "v/a._mp4": b"y"}))
    assert extract_tar(source, target) == 1 and content(target) == {"v/a._mp4": b"y"}


OUTSIDE = {
    "parent": member("../outside.mp4"),
    "parent in the middle": member("videos/../../outside.mp4"),
    "absolute": None,  # made with the test's folder
    "backslashes": member("..\\outside.mp4"),
    "symbolic link out": member("videos/link", tarfile.SYMTYPE, "../../outside"),
    "symbolic link inside": member("videos/link", tarfile.SYMTYPE, "a.mp4"),
    "hard link out": member("videos/link", tarfile.LNKTYPE, "/etc/passwd"),
    "device": member("videos/null", tarfile.CHRTYPE),
    "pipe": member("videos/pipe", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("kind", OUTSIDE)
def test_what_leads_out_of_the_folder_is_refused_by_name(tmp_path, source, target, kind):
    bad = OUTSIDE[kind] or member(str(tmp_path / "outside.mp4"))
    source.write_bytes(tar(FILES, bad))
    with pytest.raises(ArchiveError) as failure:
        extract_tar(source, target)
    assert str(failure.value).startswith(f"{source}: holds {bad.name!r}") and "not unpacked" in str(failure.value)
    assert "link" not in kind or "a link to" in str(failure.value)
    assert content(tmp_path).keys() == {source.name, *(f"target/{name}" for name in FILES)}
    assert not any(path.is_symlink() for path in target.rglob("*"))


def test_writing_through_a_link_of_the_archive_is_refused(tmp_path, source, target):
    (tmp_path / "elsewhere").mkdir()
    link = member("door", tarfile.SYMTYPE, "../elsewhere")
    source.write_bytes(tar({}, link, member("door/a.mp4")))
    with pytest.raises(ArchiveError, match="'door', a link to '../elsewhere'"):
        extract_tar(source, target)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_writing_through_a_link_that_is_there_is_refused(tmp_path, source, target):
    (tmp_path / "elsewhere").mkdir()
    target.mkdir()
    (target / "videos").symlink_to("../elsewhere")
    source.write_bytes(tar())
    with pytest.raises(ArchiveError, match=f"through a link to {tmp_path}/elsewhere"):
        extract_tar(source, target)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_folder_itself_may_be_a_link(tmp_path, source, target):
    (tmp_path / "big disk").mkdir()
    target.symlink_to("big disk")
    source.write_bytes(tar())
    extract_tar(source, target)
    assert content(tmp_path / "big disk") == FILES


def test_a_link_in_a_files_place_is_replaced_not_followed(tmp_path, source, target):
    (target / "videos").mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_bytes(FILES["videos/a.mp4"][::-1])
    (target / "videos/a.mp4").symlink_to(secret)
    (target / "videos/.b.mp4.partial").symlink_to(secret)
    source.write_bytes(tar())
    extract_tar(source, target)
    assert content(target) == FILES and secret.read_bytes() == FILES["videos/a.mp4"][::-1]


def test_what_is_there_is_not_written_again(source, target):
    source.write_bytes(tar())
    extract_tar(source, target)
    times = {path: path.stat().st_mtime_ns for path in target.rglob("*.mp4")}
    shorter, *rest = times
    shorter.write_bytes(b"shorter")
    assert extract_tar(source, target) == len(FILES) and content(target) == FILES
    assert all(path.stat().st_mtime_ns == times[path] for path in rest)


def test_overwriting_writes_files_of_equal_size_too(source, target):
    source.write_bytes(tar())
    extract_tar(source, target)
    (target / "videos/a.mp4").write_bytes(bytes(len(FILES["videos/a.mp4"])))
    extract_tar(source, target)
    assert content(target) != FILES
    extract_tar(source, target, overwrite=True)
    assert content(target) == FILES


def test_members_go_to_the_paths_that_are_chosen(source, target):
    paths = {"a.mp4": target / "x/a.mp4", "b.mp4": target / "y/z.mp4"}
    source.write_bytes(tar())
    assert extract_tar(source, target, choose_path=paths.get) == 2
    assert content(target) == {"x/a.mp4": FILES["videos/a.mp4"], "y/z.mp4": FILES["videos/b.mp4"]}


def damaged():
    whole, plain = tar(), tar(mode="w")
    cut = {f"gzip cut at {share}": whole[: int(share * len(whole))] for share in (0.1, 0.5, 0.9, 0.999)}
    flipped = bytearray(gzip.compress(plain, 0))
    flipped[len(flipped) // 2] ^= 1
    checksum = bytearray(gzip.compress(plain + bytes(3 * archives.BLOCK)))  # padding, beyond what tar reads
    checksum[-8] ^= 1
    header = bytearray(plain)
    header[[i for i in range(512, len(plain), 512) if plain[i : i + 6] == b"videos"][1]] ^= 1
    return cut | {
        "tar cut at a member's end": plain[: 512 + 3072],
        "tar cut in a header": plain[: 512 + 3072 + 100],
        "tar cut in a file": plain[:2000],
        "a bit of a file": bytes(flipped),
        "a bit of a header": bytes(header),
        "a bit of the checksum": bytes(checksum),
        "no archive": b"<html>404</html>" * 100,
        "gzip of no archive": gzip.compress(b"text" * 1000),
        "empty": b"",
    }


@pytest.mark.parametrize("kind", damaged())
def test_damaged_archives_are_named_and_leave_nothing(source, target, kind):
    source.write_bytes(damaged()[kind])
    with pytest.raises(ArchiveError) as failure:
        extract_tar(source, target)
    assert str(failure.value).startswith(f"{source}: damaged or cut short")
    assert content(target) == {}
    source.write_bytes(tar())
    extract_tar(source, target)
    assert content(target) == FILES


def test_a_damaged_archive_takes_nothing_away_that_was_there(source, target):
    source.write_bytes(tar())
    extract_tar(source, target)
    (target / "videos/a.mp4").unlink()
    source.write_bytes(damaged()["gzip cut at 0.999"])
    with pytest.raises(ArchiveError):
        extract_tar(source, target)
    assert content(target) == {name: data for name, data in FILES.items() if name != "videos/a.mp4"}


def test_a_full_disk_leaves_no_half_file(source, target, monkeypatch):
    def full(source, target, length):
        target.write(source.read(10))
        raise OSError(28, os.strerror(28))

    source.write_bytes(tar())
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(archives.shutil, "copyfileobj", full)
        extract_tar(source, target)
    assert content(target) == {}
    extract_tar(source, target)
    assert content(target) == FILES


def test_a_missing_archive_is_named(source, target):
    with pytest.raises(FileNotFoundError, match="part_0.tar.gz"):
        extract_tar(source, target)

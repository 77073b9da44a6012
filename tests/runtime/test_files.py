"""Text, JSON and paths as users write them."""

import ast
import codecs
import json

import pytest
from support.paths import ROOT

from tanet.errors import DataError
from tanet.runtime import decode_text, read_json, read_text, user_path

TEXT = "abseiling\ncrêpe flipping\n舞蹈\n"
SAVED = {
    "UTF-8": TEXT.encode(),
    "UTF-8 with a mark (Notepad, Excel)": codecs.BOM_UTF8 + TEXT.encode(),
    "two marks": 2 * codecs.BOM_UTF8 + TEXT.encode(),
    "Windows line ends": TEXT.replace("\n", "\r\n").encode(),
    "old Mac line ends (Excel for Mac)": TEXT.replace("\n", "\r").encode(),
    "UTF-16 (Windows PowerShell's >)": codecs.BOM_UTF16_LE + TEXT.replace("\n", "\r\n").encode("utf-16-le"),
    "UTF-16, big-endian": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "UTF-32": codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    "UTF-32, big-endian": codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
    "joined files, each with a mark": b"".join(codecs.BOM_UTF8 + f"{line}\n".encode() for line in TEXT.split("\n")[:3]),
}


@pytest.mark.parametrize("saved", SAVED)
def test_text_is_read_however_a_program_has_saved_it(tmp_path, saved):
    path = tmp_path / "labels.txt"
    path.write_bytes(SAVED[saved])
    assert read_text(path) == TEXT


@pytest.mark.parametrize(
    "data, line, byte",
    [
        (TEXT[:24].encode("cp1252"), 2, "0xea"),
        ("abseiling\n跳舞\n".encode("gbk"), 2, "0xcc"),
        ("a.mp4 1\r\nb.mp4 2\r\né.mp4 3\r\n".encode("latin-1"), 3, "0xe9"),
        ("a.mp4 1\n".encode("utf-16-le"), 1, "0x00"),  # without a mark
        (codecs.BOM_UTF8 + b"a.mp4 1\n" + "b.mp4 1\n".encode("utf-16-le"), 2, "0x00"),  # >> of PowerShell
        (b"\x00\x00\x00\x20ftypisom", 1, "0x00"),  # a video
    ],
    ids=["Windows-1252", "GBK", "Latin-1", "UTF-16 without a mark", "UTF-16 after UTF-8", "no text"],
)
def test_what_is_no_certain_text_is_refused_with_file_line_and_the_encoding_wanted(tmp_path, data, line, byte):
    path = tmp_path / "list.txt"
    path.write_bytes(data)
    with pytest.raises(DataError) as failure:
        read_text(path)
    assert str(failure.value).startswith(
        f"{path}, line {line}: not text in UTF-8 (byte {byte}); save the file in UTF-8"
    )


def test_a_text_with_a_mark_must_be_in_its_encoding():
    with pytest.raises(DataError, match="list.txt, line 2: not text in UTF-16"):
        decode_text(codecs.BOM_UTF16_LE + "a 1\n".encode("utf-16-le") + b"b", "list.txt")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_is_read_in_any_encoding_that_is_certain_and_its_errors_name_the_line(tmp_path, encoding):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"crêpe": "0"}, ensure_ascii=False), encoding=encoding)
    assert read_json(path) == {"crêpe": "0"}
    path.write_text('{"a": "0",\n"b" "1"}', encoding=encoding)
    with pytest.raises(DataError, match=f"{path}, line 2: not JSON"):
        read_json(path)


def test_a_path_of_a_user_may_begin_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/data") == tmp_path / "data" and user_path("~") == tmp_path
    for path in ("a/~/b", "~nobody-of-this-name/b", "./~/b", tmp_path / "~"):
        assert user_path(path) == type(tmp_path)(path)


def other_readers(path: str, source: str) -> list[str]:
    """Where a file reads text past `read_text`, by the platform's encoding, or by one that users may not have."""
    problems = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name, modes = ast.unparse(node.func), [ast.unparse(each) for each in node.args[1:2]]
        is_method = isinstance(node.func, ast.Attribute) and node.func.attr == "read_text"
        if is_method or name == "json.load" or name == "open" and (not modes or modes[0] in ("'r'", "'rt'")):
            problems.append(f"{path}:{node.lineno}: {name}")
    return problems


def test_every_text_is_read_by_the_same_function():
    files = [path for folder in ("tanet", "data_scripts") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert [problem for path in files for problem in other_readers(path.name, path.read_text())] == []


@pytest.mark.parametrize("source", ["Path(x).read_text()", "open(x)", "open(x, 'r')", "json.load(file)"])
def test_another_reader_is_found(source):
    assert len(other_readers("lists.py", source)) == 1

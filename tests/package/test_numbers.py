"""Numbers in sentences, held against the records, the tests and the code that they come from.

Whole tables are made by benchmarks/pages.py, and test_benchmarks.py compares them.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterator

import pytest
from support import links
from support.paths import ROOT

from tanet import recipes
from tanet.model import measure


def rows(record: str, **where) -> list[dict]:
    """The rows of a record of benchmarks/results that have the values of `where`."""
    found = json.loads((ROOT / "benchmarks" / "results" / f"{record}.json").read_text())["rows"]
    return [row for row in found if all(row.get(name) == value for name, value in where.items())]


def milliseconds(record: str, contestant: str) -> float:
    where = {"task": "training step", "figure": "time", "base": "TSN"}
    (row,) = rows(record, contestant=contestant, **where)
    return row["milliseconds"]


def steps_of(contestant: str) -> tuple[float, float]:
    """Of 8 clips and of 32."""
    names = ("network-bfloat16-nvidia-h200", "network-bfloat16-batch32-nvidia-h200")
    return tuple(milliseconds(name, contestant) for name in names)


def clips_per_second(kind: str) -> float:
    (row,) = rows("loader-cpu", task="training clips", kind=kind, workers=1, contestant="tanet")
    return row["clips_per_second"]


def ratio_of_export(contestant: str) -> float:
    (row,) = [row for row in rows("export-cpu", contestant=contestant) if row["clips"] == 1]
    return row["ratio"]


def more_operations() -> float:
    """Per cent that TAM adds to a ResNet-50 of 8 frames."""
    recipe = recipes.get("k400_8f")
    without = measure(recipe.with_changes({"temporal": "none"}), 256).macs
    return 100 * (measure(recipe, 256).macs / without - 1)


def graphs() -> tuple[float, float, float]:
    on, off = (rows("train_e2e-tanet50-nvidia-h200", cuda_graphs=state)[0] for state in ("on", "off"))
    return on["clips_per_second"], 100 * on["data_wait"], off["clips_per_second"]


def jpegs() -> list[float]:
    ratios = [row["tanet"] for row in rows("decode-cpu", task="8 JPEG frames")]
    return [min(ratios), max(ratios)]


def training_clips_by_pyav() -> list[float]:
    ratios = [row["tanet by pyav"] for row in rows("decode-cpu", task="training clip")]
    return [min(ratios), max(ratios)]


def in_file(path: str, pattern: str) -> str:
    return re.search(pattern, (ROOT / path).read_text(), re.MULTILINE)[1]


def oldest_python() -> str:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")


def shared_memory_of_a_test() -> float:
    """MB of a video: 30 views of 8 frames of 256 x 256 pixels, a byte a colour."""
    return 30 * 8 * 3 * 256 * 256 / 1e6


H264 = "H.264 340x256, key frame every {}"
# Page, sentence with {} for its numbers, and where these come from.
SENTENCES: tuple[tuple[str, str, Callable], ...] = (
    ("README.md", "about {:.1f}% more operations", more_operations),
    ("README.md", "{} GB of disk", lambda: in_file("Makefile", r"^DISK_GB := (\d+)")),
    ("README.md", "Python {} or newer", oldest_python),
    ("notebooks/08_speed.ipynb", "TAM adds {:.1f}% to a ResNet-50", more_operations),
    (
        "notebooks/03_data_and_sampling.ipynb",
        "A training clip takes {:.2f} to {:.2f} of decord's time",
        training_clips_by_pyav,
    ),
    (
        "docs/data.md",
        "{} times each: no frame is wrong",
        lambda: in_file("tests/data/test_footage_exact.py", r"^MANY, FEW = (\d+)"),
    ),
    ("docs/data.md", "Eight JPEGs take {:.2f} to {:.2f} of Pillow's time", jpegs),
    ("docs/machines.md", "a test of 30 views takes {:.0f} MB with two workers", lambda: 4 * shared_memory_of_a_test()),
    (
        "docs/training.md",
        "take {:.2f}% of the time of a training of TANet-50",
        lambda: rows("checkpoints-tanet50-cpu")[0]["percent of the training"],
    ),
    ("docs/speed.md", "| TSN, eager | {:.0f} (24) | {:.0f} |", lambda: steps_of("TSN")),
    ("docs/speed.md", "| published TAM, eager | {:.0f} (60) | {:.0f} |", lambda: steps_of("published TAM")),
    ("docs/speed.md", "| TANet, eager | {:.0f} (70) | {:.0f} |", lambda: steps_of("TANet")),
    ("docs/speed.md", "| TSN, graph | {:.1f} | {:.1f} |", lambda: steps_of("TSN, graph")),
    ("docs/speed.md", "| TANet, graph | {:.1f} | {:.1f} |", lambda: steps_of("TANet, graph")),
    ("docs/speed.md", "trained {:.0f} clips/s and waited for clips {:.0f}% of the time ({:.0f} clips/s", graphs),
    ("docs/speed.md", "12 frames (AMD EPYC) | {:.0f} |", lambda: clips_per_second(H264.format(12))),
    ("docs/speed.md", "the same, every 250 frames | {:.0f} |", lambda: clips_per_second(H264.format(250))),
    ("docs/speed.md", "8 JPEGs of 176x100 | {:.0f} |", lambda: clips_per_second("JPEG 176x100")),
    ("docs/speed.md", "onnxruntime takes {:.2f} of the time of eager mode", lambda: ratio_of_export("onnxruntime")),
    ("docs/speed.md", "in TorchScript {:.2f}", lambda: ratio_of_export("torchscript")),
)


def words_of(page: str) -> str:
    return " ".join(links.text_of(ROOT / page).split())


@pytest.mark.parametrize("page, sentence, numbers", SENTENCES, ids=lambda value: value if type(value) is str else "")
def test_a_sentence_says_what_its_source_says(page, sentence, numbers):
    values = numbers()
    assert sentence.format(*(values if isinstance(values, tuple | list) else [values])) in words_of(page)


def figures_in_sentences() -> Iterator[tuple[str, str]]:
    """(page, figure) of each accuracy with two decimals that does not stand in a table."""
    for path in links.PAGES:
        text = re.sub(r"^\s*\|.*$", "", links.text_of(path), flags=re.MULTILINE)
        yield from ((path.name, figure) for figure in re.findall(r"\b\d\d\.\d\d(?=%)", text))


def test_accuracies_in_sentences_are_published_ones():
    published = {row.percent(name) for row in recipes.published_results() for name in ("top1", "top5")}
    figures = list(figures_in_sentences())
    assert len(figures) >= 4
    assert not [(page, figure) for page, figure in figures if figure not in published]

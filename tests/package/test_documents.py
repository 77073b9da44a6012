"""The code blocks of the pages run. Every block is tested in one of three ways, and a block without a way fails:

python  it is executed
shell   every command is read by the parser that it is for; those of RUNS_HERE are executed, on demo data
other   no code; OTHER says what it is
"""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from support.commands import CHECKS, SHELL_WORDS, commands_in, problems_of, problems_within
from support.paths import NOTEBOOKS, ROOT, SOLUTIONS
from support.published_weights import gold_weights

from data_scripts import kinetics400, something
from tanet import cli, recipes, share
from tanet.checkpoint import PUBLISHED_FILES, layouts
from tanet.data import class_names_at
from tanet.model import build

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *NOTEBOOKS, *SOLUTIONS])
SHELLS = ("", "bash", "sh")
# (page, first line) of blocks that are no code.
OTHER = {
    ("README.md", "@inproceedings{liu2021tam,"): "test_packaging.py compares it with CITATION.cff",
    ("docs/architecture.md", "cli                     the command tanet"): "the floors, a picture",
    ("docs/own_videos.md", "with a split:"): "three folders, a picture",
    ("docs/predict.md", "clip.mp4"): "an answer; test_the_page_about_predictions_shows_an_answer has the same",
    **{
        ("docs/browser.md", part): "test_links.py compares it with docs/cloud.py"
        for part in (
            "https://mybinder.org/v2/gh/OWNER/NAME/HEAD?urlpath=lab/tree/notebooks/00_why_time.ipynb",
            "https://colab.research.google.com/github/OWNER/NAME/blob/HEAD/notebooks/00_why_time.ipynb",
            "!git clone --quiet --depth 1 https://github.com/OWNER/NAME tanet-clone",
        )
    },
}
# Commands that are executed on demo data, by the words that they begin with.
RUNS_HERE = (
    "python -m data_scripts.kinetics400 lists",
    "python -m data_scripts.kinetics400 verify",
    "python -m data_scripts.something v1 lists",
    "python -m data_scripts.something v1 verify",
    "tanet train",
    "tanet evaluate",
    "tanet predict",
    "tanet checkpoint",
)
# Commands that are only parsed, and why.
PARSED = {
    "python -m data_scripts.kinetics400 download": "fetches 400 GB",
    "python -m data_scripts.kinetics400 extract": "needs the archives; tests/data_scripts runs it on small ones",
    "python -m data_scripts.kinetics400 resize": "encodes videos; tests/data_scripts runs it",
    "python -m data_scripts.something v1 extract": "needs the archives; tests/data_scripts runs it on small ones",
    "tanet data ": "needs a folder of videos; test_own_videos_page.py runs the page that shows it",
    "tanet export ": "compiles for a minute; test_exporting.py runs it",
    "python -m data_scripts.something v1 resize": "writes a data set; tests/data_scripts runs it",
    "python benchmarks/": "measures for minutes",
    "torchrun -": "tests/train and tests/evaluate start processes by torchrun",
    "papermill notebooks/": "trains; test_papermill.py runs it",
    "srun ": "needs a cluster",
    "make ": "runs this test, or makes what it needs",
    "pytest ": "runs tests",
    "jupyter nbconvert": "make test runs the notebooks",
    **{f"{word} ": "a word of the shell; bash checks the script's syntax" for word in SHELL_WORDS},
}
# The pages whose commands are one story: each has what those before have left.
STORY = ("docs/data.md", "docs/training.md", "docs/checkpoints.md")
# What the demo puts in the place of the real data, and what makes its training short.
DEMO_TRAINING = ["--set", "epochs=1", "--set", "lr_steps=[]", "--set", "workers=0"]


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: str  # path below the checkout
    line: int  # of its first line, in the page or the cell
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0].strip()


def blocks_in(page: str, text: str) -> Iterator[Block]:
    """The fenced blocks of Markdown; ValueError if the last one has no end."""
    lines, block = [], None
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.fullmatch(r"\s*```+\s*(\S*)\s*", line)
        if fence is None:
            lines.append(line)
        elif block is None:
            block, lines = (number + 1, fence[1].lower()), []
        else:
            yield Block(page, *block, "\n".join(lines))
            block = None
    if block is not None:
        raise ValueError(f"{page}:{block[0]}: a block without an end")


def blocks() -> Iterator[Block]:
    for path in PAGES:
        name = path.relative_to(ROOT).as_posix()
        for text in markdown_of(path):
            yield from blocks_in(name, text)


def markdown_of(path) -> list[str]:
    """The text of a page, or of a notebook's Markdown cells."""
    if path.suffix == ".md":
        return [path.read_text()]
    return [
        "".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "markdown"
    ]


def ways_of(block: Block) -> list[str]:
    """The ways to test a block; there must be one."""
    ways = ["python"] if block.language == "python" else []
    if block.language in SHELLS and is_shell(block):
        ways.append("shell")
    if (block.page, block.first_line) in OTHER:
        ways.append("other")
    return ways


def is_shell(block: Block) -> bool:
    """Whether the block begins as a script, after comments, with a command that can be checked, or with a variable."""
    first = next((line for line in block.text.splitlines() if not line.startswith("# ")), "").strip()
    word = re.split(r"[\s=]", first)[0]
    return word in CHECKS or word in SHELL_WORDS or bool(re.match(r"#!|\w+=", first))


def ways_of_command(words: list[str]) -> list[str]:
    """The entries of RUNS_HERE and PARSED that a command belongs to; there must be one."""
    command = shlex.join(words) + " "
    return [beginning for beginning in (*RUNS_HERE, *PARSED) if command.startswith(beginning)]


BLOCKS = list(blocks())
SHELL_BLOCKS = [block for block in BLOCKS if "shell" in ways_of(block)]
PYTHON_BLOCKS = [block for block in BLOCKS if "python" in ways_of(block)]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_is_tested_in_one_way(block):
    assert len(ways_of(block)) == 1, f"{block} is tested in no way or in several: {block.first_line}"


def test_what_is_no_code_is_still_there():
    assert OTHER.keys() <= {(block.page, block.first_line) for block in BLOCKS}


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=str)
def test_a_shell_block_is_right(block):
    problems = problems_of(block.text)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=str)
def test_every_command_is_run_or_says_why_not(block):
    for words in commands_in(block.text):
        assert len(ways_of_command(words)) == 1, shlex.join(words)


@pytest.mark.parametrize("path", [path for path in PAGES if path.suffix == ".md"], ids=lambda path: path.stem)
def test_options_in_sentences_are_right(path):
    problems = problems_within(path.read_text())
    assert not problems, "\n".join(problems)


@pytest.fixture
def own_things(tmp_path, kinetics_root, trained_run):
    """What the pages suppose in the reader's folder: clip.mp4, clips/, a run, and the folder that was made of it."""
    videos = sorted(kinetics_root.rglob("*.mp4"))[:3]
    shutil.copy(videos[0], tmp_path / "clip.mp4")
    (tmp_path / "clips").mkdir()
    for video in videos:
        shutil.copy(video, tmp_path / "clips")
    shutil.copytree(trained_run, tmp_path / "runs/mine")
    share.pack(trained_run, tmp_path / "tanet50-k400")


def run_python(block: Block) -> dict:
    """The names that the block defines."""
    names = {}
    exec(compile(block.text, str(block), "exec"), names)
    return names


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=str)
def test_a_python_block_runs(block, tmp_path, monkeypatch, own_things):
    """In a folder with a published file, videos and a run, as the pages suppose."""
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": gold_weights("mmaction2")}, "published.pth")
    with torch.random.fork_rng():
        names = run_python(block)
    if "logits" in names:
        assert names["logits"].shape == (2, 400) and names["logits"].isfinite().all()


def on_demo_data(words: list[str], roots: dict[str, str]) -> list[str]:
    """The command for demo data on the CPU; `roots` are the folders in the place of the pages'."""
    command = " ".join(words).replace("k400_8f", "demo_kinetics").replace("--gpus 8", "--gpus 0")
    for root, demo_root in roots.items():
        command = re.sub(rf"(?<!\S){root}(?=/|\s|$)", demo_root, command)
    return command.split() + (DEMO_TRAINING if words[:2] == ["tanet", "train"] else [])


def run_command(words: list[str]) -> None:
    """Runs a command of RUNS_HERE in this process; SystemExit if it fails."""
    if words[0] == "tanet":
        return cli.main(words[1:])
    return {"kinetics400": kinetics400, "something": something}[words[2].rpartition(".")[2]].main(words[3:])


@pytest.mark.slow
def test_the_commands_from_the_data_to_the_checkpoints_run_on_demo_data(
    tmp_path, monkeypatch, capsys, linked, kinetics_root, something_root, trained_run
):
    """In the order of the pages, each with what those before have left: lists, a run, its test, its card."""
    roots = {"/data/kinetics400-320": str(linked(kinetics_root)), "/data/sthv1": str(linked(something_root))}
    monkeypatch.chdir(tmp_path)
    shown = [block for page in STORY for block in SHELL_BLOCKS if block.page == page]
    commands = [words for block in shown for words in commands_in(block.text)]
    commands = [words for words in commands if ways_of_command(words)[0] in RUNS_HERE]
    shutil.copytree(trained_run, "runs/sthv1")
    shutil.copy(sorted(kinetics_root.rglob("*.mp4"))[0], "clip.mp4")
    (published,) = {word for words in commands for word in words if word in PUBLISHED_FILES}
    weights = build(recipes.demo_kinetics()).state_dict()
    torch.save({"state_dict": layouts.from_ours(weights, "mmaction2")}, published)
    for words in commands:
        run_command(on_demo_data(words, roots))
    assert {ways_of_command(words)[0] for words in commands} == set(RUNS_HERE)
    card = (tmp_path / "tanet50-k400/README.md").read_text()
    assert "k400-dense" in card and "16 of 16" in card  # the card holds the result of the pages' own test
    assert (tmp_path / "result.md").exists() and (tmp_path / "mine.pth").exists()


@pytest.mark.slow
def test_the_commands_of_the_page_about_predictions_run(tmp_path, monkeypatch, capsys, own_things):
    """All but those that need a camera, a server or a download."""
    monkeypatch.chdir(tmp_path)
    blocks = [block for block in SHELL_BLOCKS if block.page == "docs/predict.md"]
    commands = [words for block in blocks for words in commands_in(block.text) if words[:2] == ["tanet", "predict"]]
    here = [
        words
        for words in commands
        if words[4] == "runs/mine/checkpoints/best.pth" and (tmp_path / words[2].split("/")[0]).exists()
    ]
    assert len(commands) == 10 and len(here) == 4
    for words in here:
        cli.main(words[1:])
    printed = capsys.readouterr().out
    assert printed.count("clips/") == 9 and printed.count('"clips": [') == 3
    assert np.load("features.npy").shape == (3, 512)


def test_the_page_about_predictions_shows_an_answer(kinetics_root, capsys):
    """By the same weights, of a clip of the same class. Probabilities differ from clip to clip and are not compared."""
    (shown,) = [block.text for block in BLOCKS if (block.page, block.first_line) == ("docs/predict.md", "clip.mp4")]
    clip = sorted((kinetics_root / "val/flying a diamond").iterdir())[0]
    cli.main(["predict", str(clip), "--weights", str(ROOT / "notebooks/networks/kinetics-tam.safetensors")])
    answers = [re.findall(r"^ +\d+\.\d%  (.+)$", text, re.MULTILINE) for text in (shown, capsys.readouterr().out)]
    assert answers[0][0] == answers[1][0] == "flying a diamond"
    assert len(answers[0]) == len(answers[1]) == 5
    assert set(answers[0]) <= set(class_names_at("kinetics", kinetics_root))


@pytest.mark.parametrize(
    "script, problem",
    [
        ("tanet train --recipe k400_8f --data-root D --run-dir R --gpu 8", "--gpu"),  # argparse would complete it
        ("tanet train --recipe k600 --data-root D --run-dir R", "k600"),
        ("tanet train --recipe k400_8f --data-root D", "--run-dir"),
        ("tanet train --recipe k400_8f --data-root D --run-dir R --set lr_bach=8", "lr_bach"),
        ("tanet train --recipe k400_8f --data-root D --run-dir R --set epochs=0", "epochs"),
        ("tanet evaluate f.pth --data-root D --protocol k400", "k400"),
        ("tanet predict clip.mp4", "--weights"),
        ("tanet forecast clip.mp4", "forecast"),
        ('more="--seeds 3"\ntanet train --recipe k400_8f --data-root D --run-dir R $more', "--seeds"),
        ("python -m data_scripts.kinetics400 fetch --root R", "fetch"),
        ("python -m data_scripts.something v3 lists --root R", "v3"),
        ("python -m data_scripts.ucf101 lists --root R", "ucf101"),
        ("python benchmarks/module.py --fast", "--fast"),
        ("python benchmarks/gone.py", "gone.py"),
        ("torchrun --nproc 8 -m tanet trian", "trian"),
        ("torchrun --procs-per-node 8 -m tanet train", "--procs-per-node"),
        ("papermill notebooks/04_train_kinetics400.ipynb out.ipynb -p data D", "no parameter data"),
        ("papermill notebooks/04_train_kinetics400.ipynb out.ipynb -p recipe k600", "k600"),
        ("papermill notebooks/04_train.ipynb out.ipynb", "04_train.ipynb"),
        ("papermill --fast notebooks/04_train_kinetics400.ipynb out.ipynb", "--fast"),
        ("srun bash -c 'tanet train --recip k400_8f'", "--recip"),
        ("make demos", "demos"),
        ("pytest tests/model/test_gone.py", "test_gone.py"),
        ('pytest tests/model/test_tam.py -k "thermodynamics"', "thermodynamics"),
        ("jupyter nbconvert --to notebook --exec notebooks/02_importance_maps.ipynb", "--exec"),
        ("conda activate tanet", "conda"),
        ("CUDA_VISIBLE_DEVICES=0 tanet summary k600", "k600"),
        ("export A=1 && tanet summary k600", "one command a line"),
        ("make demo; make tests", "one command a line"),
        ("make demo &&", "syntax"),
    ],
)
def test_what_is_wrong_with_a_command_is_found(script, problem):
    problems = problems_of(script)
    assert len(problems) == 1 and problem in problems[0]


@pytest.mark.parametrize(
    "text, ways",
    [
        ("```\ndocker run tanet\n```", []),
        ("```yaml\nrecipe: k400_8f\n```", []),
        ("  ```Python\n  import tanet\n  ```", ["python"]),
        ("```bash\nmake demo\n```", ["shell"]),
        ("```bibtex\n@inproceedings{liu2021tam,\n```", ["other"]),
    ],
)
def test_the_way_of_a_block(text, ways):
    (block,) = blocks_in("README.md", text)
    assert ways_of(block) == ways


def test_a_block_without_an_end_is_found():
    with pytest.raises(ValueError, match="README.md:3: a block without an end"):
        list(blocks_in("README.md", "text\n```\nmake demo\n"))


@pytest.mark.parametrize("code", ["from tanet import gone", "import tanet\ntanet.TAM(channels=64)"])
def test_a_python_block_that_is_wrong_fails(code):
    with pytest.raises((ImportError, TypeError)):
        run_python(Block("README.md", 1, "python", code))


def test_a_command_of_a_new_kind_has_no_way():
    assert ways_of_command(["tanet", "forecast", "clip.mp4"]) == []
    assert ways_of_command(["docker", "run", "tanet"]) == []


@pytest.mark.parametrize("code", ["`--on-eror skip`", "`--set lr_bach=8`", "`tanet evaluate FILE --data DATA`"])
def test_what_is_wrong_within_a_sentence_is_found(code):
    assert len(problems_within(f"Pass {code}.")) == 1

"""docs/differences.md: what it names exists, and every row says how to get the published behaviour, or why not."""

import re

import pytest
from support.commands import problem_of_part, problems_within
from support.pages import items_of, wrong_names
from support.paths import ROOT

PAGE = (ROOT / "docs/differences.md").read_text()
HEADER = "| theirs | ours | what it changes | how to get theirs |"


def rows_of(page: str) -> list[list[str]]:
    """The cells of every row in the tables of differences."""
    tables = [table.partition("\n\n")[0] for table in page.split(HEADER)[1:]]
    lines = [line for table in tables for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def incomplete(rows: list[list[str]]) -> list[str]:
    """Rows without their four cells, without a place in our code, or without a reason for what is not offered."""
    problems = []
    for row in rows:
        if len(row) != 4 or not all(row):
            problems.append(f"{len(row)} cells: {row[0]}")
        elif not re.search(r"`[\w/]+\.py`, `", row[1]):
            problems.append(f"no place in our code: {row[0]}")
        elif row[3].startswith("not offered") and not re.match(r"not offered[^,:]*(: |, because )", row[3]):
            problems.append(f"not offered, but why: {row[0]}")
    return problems


def undefined_links(page: str) -> set[str]:
    """References that the page does not define, and definitions that it does not use."""
    defined = set(re.findall(r"^\[([\w-]+)\]: ", page, re.MULTILINE))
    return defined ^ set(re.findall(r"\]\[([\w-]+)\]", page))


def test_the_page_names_only_what_exists():
    problems = wrong_names(PAGE, ROOT) + problems_within(PAGE)
    assert not problems, "\n".join(problems)


def test_every_row_is_complete():
    rows = rows_of(PAGE)
    assert len(rows) > 35
    assert not incomplete(rows), "\n".join(incomplete(rows))


def test_every_link_is_defined_and_used():
    assert not undefined_links(PAGE)


def test_a_page_that_names_what_is_gone_is_found():
    page = PAGE.replace("`learning_rate`", "`rate_of_learning`").replace("--set lr_batch=8", "--set lr_bach=8")
    assert [problem.partition(":")[0] for problem in wrong_names(page, ROOT)] == ["tanet/train/optim.py"]
    (problem,) = problems_within(page)
    assert "lr_bach" in problem


@pytest.mark.parametrize(
    "row",
    [
        "| a | `tanet/cli.py`, `main` | b |",
        "| a | `tanet/cli.py`, `main` |  | `--gpus 1` |",
        "| a | somewhere | b | `--gpus 1` |",
        "| a | `tanet/cli.py`, `main` | b | not offered |",
    ],
)
def test_an_incomplete_row_is_found(row):
    assert len(incomplete(rows_of(f"{HEADER}\n|---|---|---|---|\n{row}\n\n"))) == 1


def test_a_link_without_its_address_is_found():
    assert undefined_links("[a][here], [b][there]\n\n[here]: https://example.org\n[idle]: x") == {"there", "idle"}


@pytest.mark.parametrize(
    "options, named",
    [
        ("--batchsize 8", "--batchsize"),
        ("--on-eror skip", "--on-eror"),
        ("--on-error ignore", "ignore"),
        ("--set batch=8", "batch"),
        ("--set precision=float16", "precision"),
    ],
)
def test_options_that_no_command_takes_are_found(options, named):
    assert named in problem_of_part(options.split())


def test_the_page_is_made_of_short_rows():
    """So that the tables can be read in a browser's column."""
    cells = [re.sub(r"\]\[[\w-]+\]|\]\([^)]*\)", "]", cell) for row in rows_of(PAGE) for cell in row]
    assert not [cell for cell in cells if len(cell) > 260]
    assert all(len(item) < 1200 for item in items_of(PAGE.partition("\n[sh-k]: ")[0]))

"""The parts of README.md and docs/ that hold figures: made from the records and from what was published.

    python benchmarks/pages.py [--write]

Prints the parts as Markdown. `--write` puts each between its two comments, `<!-- made by benchmarks/pages.py: NAME -->`
and `<!-- end of NAME -->`. So the same figure is the same on every page.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from table import RESULTS, cpu, decoding_table, figures, targets

from tanet import recipes
from tanet.checkpoint import published_files_table
from tanet.demo import ablation
from tanet.model import summary_table
from tanet.recipes import Published, get_protocol, published_results, published_table

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- made by benchmarks/pages.py: {} -->", "<!-- end of {} -->"


def sizes() -> str:
    """What the networks of the published recipes cost."""
    return summary_table([recipes.get(name) for name in recipes.RECIPES if published_results(name)])


def demo(folder: Path = RESULTS) -> str:
    """Top-1 of the demo networks with and without TAM."""
    record = json.loads((folder / "demo-cpu.json").read_text())
    lines = ["| data | protocol | with TAM | without | videos |", "|---|---|---|---|---|"]
    for name, row in demo_rows(record).items():
        tam, none = row["tam"], row["none"]
        figures = f"{percent(tam['top1'])} | {percent(none['top1'])} | {tam['videos']}"
        lines.append(f"| `{name}` | {row['protocol']} | {figures} |")
    return "\n".join([*lines, "", f"Top-1 in per cent, {where_and_when(record)}."])


def short(folder: Path = RESULTS) -> str:
    """The README's table: the first figure of each source for 8 frames, and the demo's."""
    record = json.loads((folder / "demo-cpu.json").read_text())
    addresses = {row.source.partition(" ")[0]: row.url for row in reversed(published_results())}
    sources = f"[MMAction2]({addresses['MMAction2']}) | [the authors]({addresses['official']})"
    lines = [f"| top-1, per cent | views | {sources} | measured here |", "|---|---|---|---|---|"]
    for name in ("k400_8f", "sthv1_8f", "sthv2_8f"):
        rows = published_results(name)
        figures = [first_of(rows, "MMAction2"), first_of(rows, "official"), "not run"]
        lines.append(f"| {rows[0].data} | {views(rows[0].protocol)} | {' | '.join(figures)} |")
    for name, row in demo_rows(record).items():
        measured = f"{percent(row['tam']['top1'])}, without TAM {percent(row['none']['top1'])}"
        lines.append(f"| `{name}` | {views(row['protocol'])} | | | {measured} |")
    return "\n".join([*lines, "", f"A view is 8 frames, cropped; measured on {where_and_when(record)}."])


def views(protocol: str) -> int:
    """Of a video, which a test by this protocol averages."""
    chosen = get_protocol(protocol)
    return chosen.clips * chosen.crops


def first_of(rows: tuple[Published, ...], source: str) -> str:
    return next((row.percent("top1") for row in rows if row.source.startswith(source)), "-")


def demo_rows(record: dict) -> dict[str, dict]:
    """{recipe: its row of `tanet.demo.summary`} of a record, whose other fields say where and when."""
    return {name: row for name, row in record.items() if isinstance(row, dict) and "protocol" in row}


def decoding(folder: Path = RESULTS) -> str:
    return "\n".join(decoding_table(json.loads((folder / "decode-cpu.json").read_text())["rows"]))


def ablations(folder: Path = RESULTS) -> str:
    """What each part of TAM is worth, and what other sizes and places of it are, where the record is there."""
    path = folder / "ablation-cpu.json"
    if not path.exists():
        return "Not run yet."
    record = json.loads(path.read_text())
    lines = [
        f"Top-1 in per cent, mean and standard deviation of {len(ablation.SEEDS)} seeds; {where_and_when(record)}.",
        "",
    ]
    seeds = ablation.results(record["rows"])["demo_something"]["TAM"]
    lines += [
        ablation.table(record["rows"], ablation.MODULES),
        "",
        f"The seeds of TAM on `demo_something` gave {', '.join(map(percent, seeds))}. On `{ablation.SIZES_SET}`, other "
        "sizes and places of TAM. A seed finds the lamp within the ten epochs or it does not: where the deviation is "
        "large, some did.",
        "",
    ]
    return "\n".join([*lines, ablation.table(record["rows"], ["TAM", *ablation.SIZES], [ablation.SIZES_SET])])


def percent(value: float) -> str:
    return f"{value:.1f}"


def where_and_when(record: dict) -> str:
    return f"{cpu(record)}, {record['date']}"


PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("README.md", "results"): short,
    ("docs/results.md", "published"): published_table,
    ("docs/results.md", "sizes"): sizes,
    ("docs/results.md", "demo"): demo,
    ("docs/results.md", "ablations"): ablations,
    ("docs/results.md", "speed"): targets,
    ("docs/speed.md", "figures"): figures,
    ("docs/data.md", "decoding"): decoding,
    ("docs/predict.md", "weights"): published_files_table,
}


def part_of(page: str, name: str) -> str:
    """What stands between the two comments. Raises ValueError if the page does not have them."""
    _, begin, rest = page.partition(BEGIN.format(name) + "\n")
    text, end, _ = rest.partition("\n" + END.format(name))
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN.format(name)} and {END.format(name)}")
    return text


def with_part(page: str, name: str, text: str) -> str:
    """The page with `text` between the two comments. Raises ValueError if it does not have them."""
    begin, end = BEGIN.format(name), END.format(name)
    return page.replace(f"{begin}\n{part_of(page, name)}\n{end}", f"{begin}\n{text}\n{end}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the parts into their pages")
    chosen = parser.parse_args()
    for (page, name), make in PARTS.items():
        text = make()
        print(f"{page}, {name}\n\n{text}\n")
        if chosen.write:
            try:
                (ROOT / page).write_text(with_part((ROOT / page).read_text(), name, text))
            except ValueError as error:
                sys.exit(f"{page}: {error}")


if __name__ == "__main__":
    main()

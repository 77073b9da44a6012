"""The table of what had to be reached and what was measured, and the figures behind it, all from benchmarks/results.

    python benchmarks/table.py [--write]

Prints Markdown; `--write` puts it into README.md between the two comments below. What has no record is "not run".
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
README = ROOT / "README.md"
BEGIN, END = "<!-- made by benchmarks/table.py -->", "<!-- end of benchmarks/table.py -->"

MODULE = {"task": "module", "base": "published"}
TANET = {"arch": "tanet50", "size": 224, "layout": "channels_last", "contestant": "TANet", "base": "TSN"}
COMPILED = {"contestant": "TANet, compiled"}


@dataclass(frozen=True)
class Target:
    """One row of the table: the rows of a script's record with `where`, and what the worst of them should be."""

    what: str
    script: str  # benchmarks/SCRIPT.py; its records are SCRIPT-*.json
    where: dict  # a tuple stands for any of its values
    limit: float  # the most it may be, or the least if `at_least`
    value: str = "ratio"  # the field with the figure
    at_least: bool = False
    on: str = "CPU"  # where it is to be measured: "CPU", "GPU" or "any device"


def module_target(what: str, layout: str, contestant: str, figure: str, limit: float) -> Target:
    where = MODULE | {"precision": "float32", "layout": layout, "contestant": contestant, "figure": figure}
    return Target(f"one module / published, {what}, 8 and 32 clips, float32 {layout}", "module", where, limit)


def network_target(what: str, task: str, precision: str, limit: float, where=None, clips=(2,), **options) -> Target:
    """TANet / TSN at 224 pixels, channels_last, unless `where` says otherwise; any of these numbers of clips."""
    where = TANET | (where or {}) | {"task": task, "precision": precision, "clips": clips}
    what = f"{what}, {' and '.join(map(str, clips))} clip{'s' * (clips != (1,))}, {precision} channels_last"
    return Target(what, "network", where, limit, **options)


def bandwidth_target(figure: str) -> Target:
    where = {"task": "bandwidth", "clips": 32, "contestant": "tanet, triton", "figure": figure}
    what = f"aggregation, {figure}, share of a copy's bandwidth, 32 clips, worst shape, type and layout"
    return Target(what, "module", where, 0.70, "share", at_least=True, on="GPU")


TARGETS = (
    module_target("forward, C++ path", "contiguous", "tanet, cpp", "forward", 0.25),
    module_target("forward, C++ path", "channels_last", "tanet, cpp", "forward", 0.15),
    module_target("forward+backward, C++ path", "contiguous", "tanet, cpp", "forward+backward", 0.45),
    module_target("forward+backward, C++ path", "channels_last", "tanet, cpp", "forward+backward", 0.32),
    module_target("forward+backward, plain path", "contiguous", "tanet, plain", "forward+backward", 0.56),
    module_target("forward+backward, plain path", "channels_last", "tanet, plain", "forward+backward", 0.40),
    network_target("TANet / TSN, training step", "training step", "float32", 1.04),
    network_target("TANet / TSN, training step", "training step", "bfloat16", 1.07),
    network_target("TANet / TSN, forward", "test forward", "bfloat16", 1.05),
    network_target("TANet compiled / TSN eager, forward", "test forward", "bfloat16", 0.95, COMPILED),
    network_target("saved activations / TSN's", "saved activations", "float32", 1.02, clips=(1,), on="any device"),
    network_target("saved activations / TSN's", "saved activations", "bfloat16", 1.02, clips=(1,), on="any device"),
    Target(
        "error of TAM's gradients under bfloat16 autocast, worst parameter, stage and path",
        "gradients",
        {"contestant": ("tanet, plain", "tanet, cpp", "tanet, triton")},
        limit=0.01,
        value="error",
        on="any device",
    ),
    bandwidth_target("forward"),
    bandwidth_target("backward"),
    network_target("TANet / TSN, training step", "training step", "bfloat16", 1.05, clips=(32, 64), on="GPU"),
    network_target(
        "TANet / TSN, both compiled, training step", "training step", "bfloat16", 1.05,
        COMPILED | {"base": "TSN, compiled"}, clips=(32, 64), on="GPU",
    ),
    network_target(
        "TANet / published TAM in the same network, training step", "training step", "bfloat16", 0.80,
        {"base": "published TAM"}, clips=(32, 64), on="GPU",
    ),
    network_target(
        "peak memory of a training step in MiB", "peak memory", "float32", 5800,
        {"base": None}, clips=(8,), value="MiB", on="GPU",
    ),
    network_target(
        "peak memory of a training step in MiB", "peak memory", "bfloat16", 3400,
        {"base": None}, clips=(8,), value="MiB", on="GPU",
    ),
    Target(
        "share of a training step waiting for data, 340x256 clips, 16 cores",
        "train_e2e",
        {"arch": "tanet50", "size": 224, "cores": 16},
        limit=0.05,
        value="data_wait",
        on="GPU",
    ),
)  # fmt: skip


def read_records(folder: Path) -> list[dict]:
    """Every record of `folder` with the script that wrote it and whether on a CPU or GPU."""
    names = sorted({target.script for target in TARGETS} | {"scaling"})
    records = []
    for path in sorted(folder.glob("*.json")):
        script = next((name for name in names if path.stem.startswith(name + "-")), None)
        place = "CPU" if path.stem.endswith("-cpu") else "GPU"
        records.append(json.loads(path.read_text()) | {"script": script, "on": place})
    return records


def matching(record: dict, where: dict) -> list[dict]:
    def fits(found, wanted) -> bool:
        return found in wanted if isinstance(wanted, tuple) else found == wanted

    return [row for row in record["rows"] if all(fits(row.get(key), value) for key, value in where.items())]


def targets_table(records: list[dict]) -> list[str]:
    """The rows of "Must reach": one line for each device that measured it, or one that says "not run"."""
    lines = ["| | must be | measured | reached | device | date | by |", "|---|---|---|---|---|---|---|"]
    for target in TARGETS:
        sign = "at least" if target.at_least else "at most"
        start = f"| {target.on}: {target.what} | {sign} {_number(target.limit, target.value)} |"
        script = f"`benchmarks/{target.script}.py`"
        measured = [line for record in records if (line := _measured(target, record))] or ["not run | | |"]
        lines += [f"{start} {line} | {script} |" for line in measured]
    return lines


def _measured(target: Target, record: dict) -> str | None:
    """The cells of the worst row of this record that the target is about, None if it has none."""
    if record["script"] != target.script or target.on not in (record["on"], "any device"):
        return None
    rows = [row for row in matching(record, target.where) if target.value in row]
    if not rows:
        return None
    worst = (min if target.at_least else max)(rows, key=lambda row: row[target.value])
    value = worst[target.value]
    reached = value >= target.limit if target.at_least else value <= target.limit
    return f"{_figure(worst, target.value)} | {'yes' if reached else 'no'} | {_device(record)} | {record['date']}"


def _figure(row: dict, value: str) -> str:
    """The figure with its range where there is one."""
    low, high = (_number(end, value) for end in row["range"]) if "range" in row else (None, None)
    return _number(row[value], value) + (f" ({low} to {high})" if low != high else "")


def _number(number: float, value: str) -> str:
    if value == "MiB":
        return f"{number:.0f}"
    if value == "error":
        return f"{100 * number:.2g}%"
    return f"{100 * number:.0f}%" if value in ("share", "data_wait") else f"{number:.2f}"


def _device(record: dict) -> str:
    return record["device"] + (f", {record['threads']} thread(s)" if record["on"] == "CPU" else "")


def module_table(record: dict) -> list[str]:
    """Time of the 16 modules as ratios to the published formulation."""
    rows = matching(record, MODULE | {"figure": ("forward", "forward+backward")})
    title = "ResNet-50's 16 TAM modules, clips of 8 frames, ratios of time, forward / forward+backward"
    return grid(title, record, rows, "{clips} clips, {precision} {layout}", _ratios)


def network_table(record: dict) -> list[str]:
    """The whole network's times or memory as ratios to TSN's, in units as well where there are any."""
    rows = [row for row in record["rows"] if row.get("base", "TSN") == "TSN"]
    title = f"{rows[0]['arch']}, 8 frames, clips x pixels, ratios to TSN"
    column = "{task}, {clips} x {size}, {precision} {layout}"
    return grid(title, record, rows, column, lambda found: _in_units(found[0]))


def scaling_table(record: dict) -> list[str]:
    """TANet by path against TSN as frames, clips and pixels grow."""
    rows = [row for row in record["rows"] if row["contestant"] != "TSN"]
    what = f"{rows[0]['arch']}, {rows[0]['precision']} {rows[0]['layout']}, frames x clips x pixels"
    title = f"{what}, ratios of time to TSN, training step / test forward"
    return grid(title, record, rows, "{frames} x {clips} x {size}", _ratios)


def grid(title: str, record: dict, rows: list[dict], column: str, cell) -> list[str]:
    """A line for each contestant, a column for each text that `column` makes of a row; cell([row, ...]) -> text."""
    cells = {}
    for row in rows:
        cells.setdefault((row["contestant"], column.format_map(row)), []).append(row)
    names, columns = (list(dict.fromkeys(key[place] for key in cells)) for place in (0, 1))
    lines = ["", f"{title}; {_device(record)}, torch {record['torch']}, {record['date']}:", ""]
    lines += [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        texts = [cell(cells[name, head]) if (name, head) in cells else "-" for head in columns]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    return lines


def _ratios(rows: list[dict]) -> str:
    return " / ".join(f"{row['ratio']:.2f}" for row in rows)


def _in_units(row: dict) -> str:
    """A ratio and what it is in MiB, milliseconds or videos a second, as far as the row says."""
    parts = [f"{row['ratio']:.2f}"] if "ratio" in row else []
    if "MiB" in row:
        parts.append(f"{row['MiB']:.0f} MiB")
    elif "milliseconds" in row:
        milliseconds = row["milliseconds"]
        parts.append(f"{1000 / milliseconds:.0f} videos/s" if row["task"] == "inference" else f"{milliseconds:.0f} ms")
    return ", ".join(parts)


def tables(folder: Path = RESULTS) -> str:
    """The targets, then what module.py, network.py and scaling.py recorded, device by device."""
    records = read_records(folder)
    lines = targets_table(records)
    for script, table in {"module": module_table, "network": network_table, "scaling": scaling_table}.items():
        for record in records:
            lines += table(record) if record["script"] == script else []
    return "\n".join(lines)


def write(text: str, path: Path = README) -> None:
    """Puts the text between the two comments of the file; ValueError where they are not there."""
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path.name} needs the lines {BEGIN} and {END} where the tables belong")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into README.md")
    chosen = parser.parse_args()
    print(tables())
    if chosen.write:
        try:
            write(tables())
        except ValueError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()

"""The tables of the records in benchmarks/results: the targets with what was measured, and the figures behind them.

A target that no record measures is "not run". benchmarks/pages.py writes the tables into the pages.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"

MODULE = {"task": "module", "base": "published"}
TANET = {"arch": "tanet50", "size": 224, "layout": "channels_last", "contestant": "TANet", "base": "TSN"}
COMPILED = {"contestant": "TANet, compiled"}


@dataclass(frozen=True)
class Target:
    """One row of the table: a limit that the worst of some rows of a script's records has to keep."""

    title: str
    script: str  # benchmarks/SCRIPT.py; its records are SCRIPT-*.json
    where: dict  # the fields of the rows that count; a tuple means any of its values
    limit: float  # the largest allowed value, or the smallest if `at_least`
    value: str = "ratio"  # the field with the value
    at_least: bool = False
    on: str = "CPU"  # the device that counts: "CPU", "GPU" or "any device"


def module_target(title: str, layout: str, contestant: str, figure: str, limit: float) -> Target:
    where = MODULE | {"precision": "float32", "layout": layout, "contestant": contestant, "figure": figure}
    return Target(f"one module / published, {title}, 8 and 32 clips, float32 {layout}", "module", where, limit)


def network_target(
    title: str, task: str, precision: str, limit: float, changes: dict | None = None, clips: int = 2, **options
) -> Target:
    """TANet / TSN at 224 pixels, channels_last, with `changes` of these conditions."""
    where = TANET | (changes or {}) | {"task": task, "precision": precision, "clips": clips, "figure": ("time", None)}
    noun = "clip" if clips == 1 else "clips"
    title = f"{title}, {clips} {noun}, {precision} channels_last"
    return Target(title, "network", where, limit, **options)


def gpu_target(title: str, clips: int, limit: float, task="training step", size=224, **changes) -> Target:
    """A ratio of times of the network on a GPU, in bfloat16 and channels_last."""
    where = TANET | {"task": task, "precision": "bfloat16", "clips": clips, "size": size, "figure": "time"} | changes
    noun = "clip" if clips == 1 else "clips"
    return Target(f"{title}, {task}, {clips} {noun}", "network", where, limit, on="GPU")


def bandwidth_target(figure: str, limit: float) -> Target:
    shapes = ("64x56x56", "128x28x28", "256x14x14")
    where = {"task": "bandwidth", "clips": 32, "contestant": "tanet, triton", "figure": figure, "shape": shapes}
    title = f"aggregation, {figure}, share of a copy's bandwidth, 32 clips, worst of 64x56x56 to 256x14x14"
    return Target(title, "module", where, limit, "share", at_least=True, on="GPU")


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
    network_target("saved activations / TSN's", "saved activations", "float32", 1.02, clips=1, on="any device"),
    network_target("saved activations / TSN's", "saved activations", "bfloat16", 1.02, clips=1, on="any device"),
    Target(
        "error of TAM's gradients under bfloat16 autocast, worst parameter, stage and path",
        "gradients",
        {"contestant": ("tanet, plain", "tanet, cpp", "tanet, triton")},
        limit=0.01,
        value="error",
        on="any device",
    ),
    *(
        gpu_target("TANet by a graph / published eager", clips, limit, contestant="TANet, graph", base="published TAM")
        for clips, limit in ((8, 0.35), (32, 0.50), (64, 0.50))
    ),
    *(
        gpu_target("TANet / TSN, both by graphs", clips, 1.05, contestant="TANet, graph", base="TSN, graph")
        for clips in (8, 32, 64)
    ),
    *(
        gpu_target("TANet / TSN, both compiled", clips, 1.05, contestant="TANet, compiled", base="TSN, compiled")
        for clips in (8, 32, 64)
    ),
    *(
        gpu_target("TANet compiled / TSN eager", clips, 0.80, contestant="TANet, compiled", base="TSN")
        for clips in (32, 64)
    ),
    gpu_target(
        "TANet by a graph / published eager",
        1,
        0.15,
        task="inference",
        size=256,
        contestant="TANet, graph",
        base="published TAM",
    ),
    Target(
        "kernels that one TAM adds to a training step, forward and backward",
        "step_kernels",
        {"contestant": "one TAM: (TANet - TSN) / modules", "kind": "all"},
        limit=20,
        value="kernels",
        on="GPU",
    ),
    bandwidth_target("forward", 0.80),
    bandwidth_target("backward", 0.70),
    network_target(
        "peak memory of a training step in MiB",
        "peak memory",
        "float32",
        5800,
        {"base": None},
        clips=8,
        value="MiB",
        on="GPU",
    ),
    network_target(
        "peak memory of a training step in MiB",
        "peak memory",
        "bfloat16",
        3400,
        {"base": None},
        clips=8,
        value="MiB",
        on="GPU",
    ),
    Target(
        "share of a training step by a graph that waits for data, 340x256 clips, 16 cores",
        "train_e2e",
        {"arch": "tanet50", "size": 224, "cores": 16, "cuda_graphs": "on"},
        limit=0.10,
        value="data_wait",
        on="GPU",
    ),
)


def read_records(folder: Path) -> list[dict]:
    """Every record of `folder`, with three fields added: "script" that wrote it, "on", "CPU" or "GPU", and "before",
    whether its name says that it is of earlier code."""
    names = sorted({target.script for target in TARGETS} | set(TABLES))
    records = []
    for path in sorted(folder.glob("*.json")):
        script = next((name for name in names if path.stem.startswith(name + "-")), None)
        device_kind = "CPU" if path.stem.endswith("-cpu") else "GPU"
        added = {"script": script, "on": device_kind, "before": "-before-" in path.stem}
        records.append(json.loads(path.read_text()) | added)
    return records


def matching(record: dict, where: dict) -> list[dict]:
    """The rows of a record that have the values of `where`; a tuple means any of its values."""

    def fits(value, expected) -> bool:
        return value in expected if isinstance(expected, tuple) else value == expected

    return [row for row in record["rows"] if all(fits(row.get(key), expected) for key, expected in where.items())]


def targets_table(records: list[dict]) -> list[str]:
    """The table of targets: one line for each device that measured a target, or one line that says "not run".

    A line is from the newest record. A second table has the lines of the older ones.
    """
    head = ["| ratio or amount | aim | measured | reached | device | date | commit | by |", "|---" * 8 + "|"]
    now, before = [], []
    for target in TARGETS:
        sign = "at least" if target.at_least else "at most"
        start = f"| {target.on}: {target.title} | {sign} {_number(target.limit, target.value)} |"
        script = f"`{target.script}.py`"
        measured = [(record, cells) for record in records if (cells := _measured(target, record))]
        newest = {}
        for record, cells in sorted(measured, key=lambda pair: _age(pair[0])):
            newest[record["device"]] = record, cells
        lines = [cells for _, cells in newest.values()]
        now += [f"{start} {cells} | {script} |" for cells in lines or ["not run | | | |"]]
        old = [cells for record, cells in measured if record is not newest[record["device"]][0]]
        before += [f"{start} {cells} | {script} |" for cells in old]
    return [*head, *now, "", "Before, by older records:", "", *head, *before] if before else [*head, *now]


def _age(record: dict) -> tuple:
    """Greater for a newer record."""
    return record["date"], not record["before"]


def _measured(target: Target, record: dict) -> str | None:
    """Cells for the worst row that counts for the target; None if the record has no such row."""
    if record["script"] != target.script or target.on not in (record["on"], "any device"):
        return None
    rows = [row for row in matching(record, target.where) if target.value in row]
    if not rows:
        return None
    if target.at_least:
        worst = min(rows, key=lambda row: row[target.value])
        reached = worst[target.value] >= target.limit
    else:
        worst = max(rows, key=lambda row: row[target.value])
        reached = worst[target.value] <= target.limit
    when = f"{record['date']} | {record.get('commit', '')}"
    return f"{_figure(worst, target.value)} | {'yes' if reached else 'no'} | {_device(record)} | {when}"


def _figure(row: dict, value: str) -> str:
    """The value as text, with its range if there is one that is visible after rounding."""
    text = _number(row[value], value)
    if "range" not in row:
        return text
    low, high = (_number(end, value) for end in row["range"])
    return text if low == high else f"{text} ({low} to {high})"


def _number(number: float, value: str) -> str:
    if value in ("MiB", "kernels"):
        return f"{number:.0f}"
    if value == "error":
        return f"{100 * number:.2g}%"
    if value in ("share", "data_wait"):
        return f"{100 * number:.0f}%"
    return f"{number:.2f}"


def _device(record: dict) -> str:
    return cpu(record) if record["on"] == "CPU" else record["device"]


def cpu(record: dict) -> str:
    """The CPU of a record, with the number of its threads."""
    return f"{record['device']}, {record['threads']} thread{'s' if record['threads'] > 1 else ''}"


def module_table(record: dict) -> list[str]:
    """The time of the 16 modules, as ratios to the published formulation."""
    rows = matching(record, MODULE | {"figure": ("forward", "forward+backward")})
    title = "ResNet-50's 16 TAM modules, clips of 8 frames, ratios of time, forward / forward+backward"
    title, column = with_number_format(title, "{clips} clips", rows)
    return grid(title, record, rows, column, _ratios)


def with_number_format(title: str, column: str, rows: list[dict]) -> tuple[str, str]:
    """Precision and layout go into the title where all rows have the same, otherwise into the heads of the columns."""
    formats = {f"{row['precision']} {row['layout']}" for row in rows}
    return (f"{title}, {formats.pop()}", column) if len(formats) == 1 else (title, column + ", {precision} {layout}")


def network_table(record: dict) -> list[str]:
    """Times or memory of the whole network, as ratios to TSN and, where recorded, in units."""
    rows = [row for row in matching(record, {"figure": ("time", None)}) if row.get("base", "TSN") == "TSN"]
    what = "memory" if "MiB" in rows[0] else "time"
    title = f"The {what} of {rows[0]['arch']}, 8 frames, clips x pixels, ratios to TSN"
    title, column = with_number_format(title, "{task}, {clips} x {size}", rows)
    return grid(title, record, rows, column, lambda cell_rows: _in_units(cell_rows[0]))


def scaling_table(record: dict) -> list[str]:
    """The paths of TANet compared with TSN, as frames, clips and pixels grow."""
    rows = [row for row in matching(record, {"figure": "time"}) if row["contestant"] != "TSN"]
    conditions = f"{rows[0]['arch']}, {rows[0]['precision']} {rows[0]['layout']}, frames x clips x pixels"
    title = f"{conditions}, ratios of time to TSN, training step / test forward"
    return grid(title, record, rows, "{frames} x {clips} x {size}", _ratios)


def kernels_table(record: dict) -> list[str]:
    """The GPU's kernels in one training step, and their time."""
    rows = [row for row in record["rows"] if "kind" in row]
    conditions = f"{rows[0]['arch']}, {rows[0]['clips']} clips, {rows[0]['precision']} {rows[0]['layout']}"
    title = f"A training step's kernels by kind, {conditions}, number and time"
    return grid(
        title, record, rows, "{kind}", lambda cell: f"{cell[0]['kernels']:.0f}, {cell[0]['milliseconds']:.2f} ms"
    )


def export_table(record: dict) -> list[str]:
    """Exported programs, as ratios to the network in eager mode."""
    rows = record["rows"]
    conditions = f"{rows[0]['arch']}, {rows[0]['frames']} frames, {rows[0]['precision']}, clips x pixels"
    title = f"{conditions}, ratios of time to eager"
    return grid(title, record, rows, "{task}, {clips} x {size}", _ratios)


def decoding_table(rows: list[dict]) -> list[str]:
    """Each reader's time to open a video file and read it, as ratios to decord."""
    rows = [row for row in rows if "key frame every" in row]
    readers = [name for name in rows[0] if name not in ("task", "size", "key frame every")]
    lines = [f"| task | pixels | key frame every | {' | '.join(readers)} |", "|---" * (len(readers) + 3) + "|"]
    for row in rows:
        conditions = f"{row['task']} | {row['size'][0]}x{row['size'][1]} | {row['key frame every']}"
        lines.append(f"| {conditions} | {' | '.join(f'{row[name]:.2f}' for name in readers)} |")
    return lines


def grid(title: str, record: dict, rows: list[dict], column: str, cell: Callable[[list[dict]], str]) -> list[str]:
    """A Markdown table with a line for each contestant.

    `column` is a format string that makes a row's column head. `cell` makes the text of a cell from its rows.
    """
    cells = {}
    for row in rows:
        cells.setdefault((row["contestant"], column.format_map(row)), []).append(row)
    names = list(dict.fromkeys(name for name, _ in cells))
    columns = list(dict.fromkeys(head for _, head in cells))
    commit = f", commit {record['commit']}" if "commit" in record else ""
    lines = ["", f"{title}; {_device(record)}, torch {record['torch']}, {record['date']}{commit}:", ""]
    lines += [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        texts = [cell(cells[name, head]) if (name, head) in cells else "-" for head in columns]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    return lines


def _ratios(rows: list[dict]) -> str:
    return " / ".join(f"{row['ratio']:.2f}" for row in rows)


def _in_units(row: dict) -> str:
    """The ratio of a row, and its MiB, milliseconds or videos per second, if the row has them."""
    parts = [f"{row['ratio']:.2f}"] if "ratio" in row else []
    if "MiB" in row:
        parts.append(f"{row['MiB']:.0f} MiB")
    elif "milliseconds" in row:
        if row["task"] == "inference":
            parts.append(f"{1000 / row['milliseconds']:.0f} videos/s")
        else:
            parts.append(f"{row['milliseconds']:.0f} ms")
    return ", ".join(parts)


TABLES = {
    "module": module_table,
    "network": network_table,
    "step_kernels": kernels_table,
    "scaling": scaling_table,
    "export": export_table,
}


def targets(folder: Path = RESULTS) -> str:
    """The table of targets."""
    return "\n".join(targets_table(read_records(folder)))


def figures(folder: Path = RESULTS) -> str:
    """One table for each record of the scripts in TABLES; last those of earlier code, with a heading."""
    records, lines = read_records(folder), []
    for before in (False, True):
        chosen = [record for record in records if record["before"] is before]
        tables = [line for script, make in TABLES.items() for r in chosen if r["script"] == script for line in make(r)]
        lines += ["", "### Before: records of earlier code", *tables] if before and tables else tables
    return "\n".join(lines[1:])  # each begins with an empty line

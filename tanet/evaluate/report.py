"""The result of a test: its metrics and videos, as result.json, and as a page beside the published numbers."""

import json
import os
import re
from pathlib import Path

import numpy as np

from tanet.data import Sample, VideoList
from tanet.evaluate.metrics import compute_metrics
from tanet.evaluate.partial import exact
from tanet.recipes import Published, get_protocol, published_results
from tanet.runtime import check_writable, write_text


def summarize(scores: np.ndarray, videos: VideoList, data_root: Path) -> dict:
    """Metrics with class names, and one row per video: path below the data root, label, prediction, scores."""
    labels = [sample.label for sample in videos.samples]
    if None in labels:
        return _unlabelled_summary(scores, videos, data_root)
    summary = compute_metrics(scores, labels)
    accuracy = summary.pop("class_accuracy")
    predicted = summary.pop("predicted")
    summary["class_names"] = list(videos.class_names)
    summary["per_class"] = [
        {"class": videos.class_names[label], "videos": labels.count(label), "accuracy": accuracy[label]}
        for label in accuracy
    ]
    summary["per_video"] = [
        _video_row(sample, data_root, predicted_class, exact(row))
        for sample, predicted_class, row in zip(videos.samples, predicted, scores)
    ]
    return summary


def _unlabelled_summary(scores: np.ndarray, videos: VideoList, data_root: Path) -> dict:
    """Without labels: class names, and one row per video: its five best classes, best first, and its scores.

    `full_set` is None, since there is no published figure to compare with.
    """
    rows = []
    for sample, row in zip(videos.samples, scores):
        best = [index for index in np.argsort(-row, kind="stable")[:BEST].tolist() if row[index] > -np.inf]  # not NaN
        classes = [{"class": videos.class_names[index], "probability": exact(row[[index]])[0]} for index in best]
        path = path_below(sample.path, data_root)
        rows.append({"path": path, "label": None, "top5": classes, "scores": exact(row)})
    return {"full_set": None, "class_names": list(videos.class_names), "per_video": rows}


def path_below(path: Path, data_root: str | os.PathLike) -> str:
    """A video's path as results name it: below the data root, or as it is if a list names a video elsewhere."""
    if path.is_relative_to(data_root):
        path = path.relative_to(data_root)
    return path.as_posix()


def _video_row(sample: Sample, data_root: Path, predicted_class: int | None, scores: list[float]) -> dict:
    return {
        "path": path_below(sample.path, data_root),
        "label": sample.label,
        "predicted": predicted_class,
        "probability": scores[sample.label],
        "scores": scores,
    }


def check_target(out: str | os.PathLike) -> None:
    """Raises ValueError or OSError if `write_result` could not write to `out`. Makes its folder."""
    page = Path(out).with_suffix(".md")
    if page == Path(out):
        raise ValueError(
            f"{out}: the page for reading gets this name; name the result {page.with_suffix('.json').name}"
        )
    check_writable(out)
    check_writable(page)


def write_result(result: dict, out: str | os.PathLike) -> None:
    """Writes the result to `out` as JSON, and its page to the same name ending in .md."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out.with_suffix(".md"), result_page(result) + "\n")
    write_text(out, _result_json(result))


LONG_LISTS = ("confusion", "per_video")
BEST = 5  # classes of a video without a label
PAGE_ROWS = 20  # videos without labels that a page shows; the JSON file has all


def _result_json(result: dict) -> str:
    """The result as JSON for people to read and compare: a line for each confusion row and each video, at the end."""
    entries = [
        f" {json.dumps(key)}: " + json.dumps(value, indent=1).replace("\n", "\n ")
        for key, value in result.items()
        if key not in LONG_LISTS
    ]
    for key in filter(result.__contains__, LONG_LISTS):
        rows = ",\n  ".join(json.dumps(row) for row in result[key])
        entries.append(f" {json.dumps(key)}: [\n  {rows}\n ]")
    return "{\n" + ",\n".join(entries) + "\n}\n"


def result_page(result: dict) -> str:
    """A result of `tanet.evaluate.run` as Markdown."""
    published = _comparable(result) if "top1" in result else []
    table = _accuracy_table(result, published) if "top1" in result else _class_table(result["per_video"])
    remarks = [f"- {remark}" for remark in _remarks(result, published)]
    return "\n".join([f"## {result['recipe']}, {result['protocol']}", "", *table, "", *remarks])


def _accuracy_table(result: dict, published: list[Published]) -> list[str]:
    lines = [
        "| | top-1 | top-5 | mean class accuracy | videos |",
        "|---|---|---|---|---|",
        f"| measured here | {_measured(result, 'top1')} | {_measured(result, 'top5')} "
        f"| {result['mean_class_accuracy']:.2f} | {videos_tested(result)} |",
    ]
    return lines + [
        f"| published, [{row.source}]({row.url}), trained with {row.settings} "
        f"| {row.percent('top1')} | {row.percent('top5')} | | {result['full_set']} |"
        for row in published
    ]


def _class_table(rows: list[dict]) -> list[str]:
    """The best classes of videos without labels."""
    lines = ["| video | best classes |", "|---|---|"]
    for row in rows[:PAGE_ROWS]:
        best = [f"{each['class']} {each['probability']:.3f}" for each in row["top5"]]
        lines.append(f"| {row['path']} | {', '.join(best)} |")
    if len(rows) > PAGE_ROWS:
        lines.append(f"| {len(rows) - PAGE_ROWS} more videos, in the JSON file | |")
    return lines


# Fields that, changed, leave the published figures comparable: chance, rounding, how a batch is shared, default tests.
NEUTRAL = {
    "seed",
    "deterministic",
    "memory_format",
    "compile",
    "checkpoint_activations",
    "clips_per_process",
    "accumulation",
    "protocols",
}


def _decisive(changes: dict) -> dict:
    return {name: value for name, value in changes.items() if name not in NEUTRAL}


def _comparable(result: dict) -> list[Published]:
    """The published results to compare with: all of the recipe, or those trained with these very changes of it."""
    changes = _decisive(result["recipe_changes"])
    rows = published_results(result["recipe"], result["protocol"], result["style"])
    return [row for row in rows if not changes or _decisive(row.changes) == changes]


def videos_tested(result: dict) -> str:
    """ "240 of 240", with ", a subset" where not all videos were tested."""
    whole = max(result["listed"], result["full_set"] or 0)
    text = f"{result['tested']} of {whole}"
    if result["tested"] < whole:
        text += ", a subset"
    return text


def list_tested(result: dict) -> str:
    """ "val.csv, sha256 0123456789abcdef..., 240 videos"; of results that do not name their list, that."""
    tested = result.get("list")
    if not tested:
        return "not named in the result, which an older version wrote"
    return f"{tested['name']}, sha256 {tested['sha256'][:16]}..., {tested['videos']} videos"


def _measured(result: dict, figure: str) -> str:
    low, high = result[f"{figure}_interval"]
    return f"{result[figure]:.2f} ({low:.2f} to {high:.2f})"


def _remarks(result: dict, published: list[Published]) -> list[str]:
    """What a reader must know to judge the figures, a sentence or two each."""
    source = re.sub("(sha256 [0-9a-f]{16})[0-9a-f]+", r"\1...", result["source"] or "")
    origin = f"; from {source}" if source else ""
    remarks = [
        f"Checkpoint {result['checkpoint']}, sha256 {result['sha256'][:16]}..., layout {result['layout']}{origin}.",
        f"{result['views']}, {result['frames']} frames each; style {result['style']}; classes {result['class_order']}.",
        f"Device {result['device']}, torch {result['torch']}, {result['precision']}.",
    ]
    if result.get("weights"):
        remarks.insert(1, f"Of two sets of weights in the file this tests {result['weights']}.")
    if result.get("list"):  # results of older versions do not name their list
        remarks.append(f"List {list_tested(result)}.")
        remarks += [f"LIST: {remark}." for remark in result["list"]["remarks"]]
    if result.get("unreadable"):
        remarks.append(_unreadable_remark(result["unreadable"]))
    if result["recipe_changes"]:
        changes = ", ".join(f"{name} {value}" for name, value in result["recipe_changes"].items())
        remark = f"CHANGED from the recipe {result['recipe']}: {changes}."
        if _decisive(result["recipe_changes"]) and not published:
            remark += " Published figures of the recipe do not apply."
        remarks.append(remark)
    sampling, tested_by = result["recipe_changes"].get("sampling"), get_protocol(result["protocol"]).sampling
    if sampling not in (None, tested_by):
        remarks.append(f"MIXED: trained on clips of {sampling} sampling, tested on clips of {tested_by} sampling.")
    if "top1" not in result:
        return [*remarks, f"The list has no labels, so no accuracy is known; {videos_tested(result)} videos."]
    remarks.append("In brackets: 95% confidence interval of the accuracy on these many videos (Wilson).")
    if result["style"] != result["checkpoint_style"]:
        remarks.append(
            f"MIXED: the checkpoint is of style {result['checkpoint_style']}; its published figures were obtained in "
            "that style."
        )
    if published and result["tested"] < result["full_set"]:
        remarks.append(
            f"A subset: {result['tested']} of the {result['full_set']} videos behind the published figures. Compare "
            "the interval, not the number."
        )
    if not published and not _decisive(result["recipe_changes"]):
        remarks.append(_unpublished_remark(result["recipe"], result["protocol"]))
    return remarks + _interval_remarks(published, *result["top1_interval"])


def _unpublished_remark(recipe: str, protocol: str) -> str:
    """That nothing is published in the style of the test, and what is in another one."""
    remark = "Nothing is published for this recipe, protocol and style"
    others = [
        f"{row.percent('top1')} in style {row.style} ({row.source})" for row in published_results(recipe, protocol)
    ]
    return "; ".join([remark, *others]) + "."


def _unreadable_remark(unreadable: list[dict]) -> str:
    count = "1 video" if len(unreadable) == 1 else f"{len(unreadable)} videos"
    names = ", ".join(row["path"] for row in unreadable[:5])
    if len(unreadable) > 5:
        names += ", ..."
    return f"LEFT OUT: {count} that cannot be read: {names}."


def _interval_remarks(published: list[Published], low: float, high: float) -> list[str]:
    """Which published top-1 figures lie inside, above and below the interval that was measured here."""
    positions = {"inside": [], "above": [], "below": []}
    for row in published:
        figure = f"{row.percent('top1')} ({row.source})"
        if row.top1 > high:
            positions["above"].append(figure)
        elif row.top1 < low:
            positions["below"].append(figure)
        else:
            positions["inside"].append(figure)
    return [
        f"Published top-1 {position} the interval: {', '.join(figures)}."
        for position, figures in positions.items()
        if figures
    ]

"""The result of a test: its metrics and videos, as result.json, and as a page beside the published numbers."""

import json
import os
from pathlib import Path

import numpy as np

from tanet.data import Sample, VideoList
from tanet.evaluate.metrics import compute_metrics
from tanet.evaluate.partial import exact
from tanet.recipes import published_results
from tanet.runtime import check_writable, write_text


def summarize(scores: np.ndarray, videos: VideoList, data_root: Path) -> dict:
    """Metrics with class names, and one row per video: path below the data root, label, prediction, scores."""
    labels = [sample.label for sample in videos.samples]
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


def _result_json(result: dict) -> str:
    """The result as JSON for people to read and compare: a line for each confusion row and each video, at the end."""
    entries = [
        f" {json.dumps(key)}: " + json.dumps(value, indent=1).replace("\n", "\n ")
        for key, value in result.items()
        if key not in LONG_LISTS
    ]
    for key in LONG_LISTS:
        rows = ",\n  ".join(json.dumps(row) for row in result[key])
        entries.append(f" {json.dumps(key)}: [\n  {rows}\n ]")
    return "{\n" + ",\n".join(entries) + "\n}\n"


def result_page(result: dict) -> str:
    """A result of `tanet.evaluate.run` as Markdown."""
    published = []
    if not result["recipe_changes"]:
        published = published_results(result["recipe"], result["protocol"], result["style"])
    lines = [
        f"## {result['recipe']}, {result['protocol']}",
        "",
        "| | top-1 | top-5 | mean class accuracy | videos |",
        "|---|---|---|---|---|",
        f"| measured here | {_measured(result, 'top1')} | {_measured(result, 'top5')} "
        f"| {result['mean_class_accuracy']:.2f} | {videos_tested(result)} |",
    ]
    lines += [
        f"| published, [{row.source}]({row.url}), trained with {row.settings} "
        f"| {row.percent('top1')} | {row.percent('top5')} | | {result['full_set']} |"
        for row in published
    ]
    lines.append("")
    lines += [f"- {remark}" for remark in _remarks(result, published)]
    return "\n".join(lines)


def videos_tested(result: dict) -> str:
    """ "240 of 240", with ", a subset" where not all videos were tested."""
    whole = max(result["listed"], result["full_set"] or 0)
    text = f"{result['tested']} of {whole}"
    if result["tested"] < whole:
        text += ", a subset"
    return text


def _measured(result: dict, figure: str) -> str:
    low, high = result[f"{figure}_interval"]
    return f"{result[figure]:.2f} ({low:.2f} to {high:.2f})"


def _remarks(result: dict, published: tuple) -> list[str]:
    """What a reader must know to judge the figures, a sentence or two each."""
    origin = f"; from {result['source']}" if result["source"] else ""
    remarks = [
        f"Checkpoint {result['checkpoint']}, sha256 {result['sha256'][:16]}..., layout {result['layout']}{origin}.",
        f"{result['views']}, {result['frames']} frames each; style {result['style']}; classes {result['class_order']}.",
        f"Device {result['device']}, torch {result['torch']}, {result['precision']}.",
        "In brackets: 95% confidence interval of the accuracy on these many videos (Wilson).",
    ]
    if result.get("unreadable"):
        remarks.append(_unreadable_remark(result["unreadable"]))
    if result["recipe_changes"]:
        changes = ", ".join(f"{name} {value}" for name, value in result["recipe_changes"].items())
        remarks.append(
            f"CHANGED from the recipe {result['recipe']}: {changes}. Published figures of the recipe do not apply."
        )
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
    if not published and not result["recipe_changes"]:
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


def _interval_remarks(published: tuple, low: float, high: float) -> list[str]:
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

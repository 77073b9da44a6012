"""The result of a test: its metrics and videos, as result.json, and as a page beside the published numbers."""

import json
import os
from pathlib import Path

import numpy as np

from tanet.data import Sample, VideoList
from tanet.evaluate.metrics import metrics
from tanet.evaluate.partial import exact
from tanet.recipes import published_results
from tanet.runtime import write_text


def summarize(scores: np.ndarray, videos: VideoList, data_root: Path) -> dict:
    """Metrics with class names, and one row per video: path below the data root, label, prediction, scores."""
    labels = [sample.label for sample in videos.samples]
    result = metrics(scores, labels)
    accuracy, predicted = result.pop("class_accuracy"), result.pop("predicted")
    return result | {
        "class_names": list(videos.class_names),
        "per_class": [
            {"class": videos.class_names[label], "videos": labels.count(label), "accuracy": accuracy[label]}
            for label in accuracy
        ],
        "per_video": [
            _video_row(sample, data_root, taken_for, exact(row))
            for sample, taken_for, row in zip(videos.samples, predicted, scores)
        ],
    }


def below(path: Path, data_root: str | os.PathLike) -> str:
    """A video's path as results name it: below the data root, or as it is if a list names one elsewhere."""
    return (path.relative_to(data_root) if path.is_relative_to(data_root) else path).as_posix()


def _video_row(sample: Sample, data_root: Path, taken_for: int | None, scores: list[float]) -> dict:
    return {
        "path": below(sample.path, data_root),
        "label": sample.label,
        "predicted": taken_for,
        "probability": scores[sample.label],
        "scores": scores,
    }


def write_result(result: dict, out: str | os.PathLike) -> None:
    """result.json, a line for each video, and its page beside it."""
    rows = ",\n  ".join(json.dumps(row) for row in result["per_video"])
    rest = json.dumps({key: value for key, value in result.items() if key not in ("per_video", "confusion")}, indent=1)
    confusion = ",\n  ".join(json.dumps(row) for row in result["confusion"])
    text = f'{rest[:-2]},\n "confusion": [\n  {confusion}\n ],\n "per_video": [\n  {rows}\n ]\n}}\n'
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    for path, content in ((Path(out).with_suffix(".md"), result_page(result) + "\n"), (out, text)):
        write_text(path, content)


def result_page(result: dict) -> str:
    """A result of `tanet.evaluate.run` as Markdown."""
    rows = [] if result["recipe_changes"] else published_results(result["recipe"], result["protocol"], result["style"])
    lines = [
        f"## {result['recipe']}, {result['protocol']}",
        "",
        "| | top-1 | top-5 | mean class accuracy | videos |",
        "|---|---|---|---|---|",
        f"| measured here | {_measured(result, 'top1')} | {_measured(result, 'top5')} | {result['mean_class_accuracy']:.2f} "
        f"| {videos_tested(result)} |",
    ]
    lines += [
        f"| published, [{row.source}]({row.url}) | {row.percent('top1')} | {row.percent('top5')} | | {result['full_set']} |"
        for row in rows
    ]
    return "\n".join([*lines, "", *(f"- {line}" for line in _remarks(result, rows))])


def videos_tested(result: dict) -> str:
    """ "240 of 240", said to be a subset where it is one."""
    whole = max(result["listed"], result["full_set"] or 0)
    return f"{result['tested']} of {whole}" + (", a subset" if result["tested"] < whole else "")


def _counted_videos(count: int) -> str:
    return f"{count} video" + ("s" if count > 1 else "")


def _measured(result: dict, figure: str) -> str:
    low, high = result[f"{figure}_interval"]
    return f"{result[figure]:.2f} ({low:.2f} to {high:.2f})"


def _remarks(result: dict, rows) -> list[str]:
    remarks = [
        f"Checkpoint {result['checkpoint']}, sha256 {result['sha256'][:16]}..., layout {result['layout']}"
        + (f"; from {result['source']}" if result["source"] else "") + ".",
        f"{result['views']}, {result['frames']} frames each; style {result['style']}; classes {result['class_order']}.",
        f"Device {result['device']}, torch {result['torch']}, {result['precision']}.",
        "In brackets: 95% confidence interval of the accuracy on these many videos (Wilson).",
    ]  # fmt: skip
    unreadable = result.get("unreadable", [])
    if unreadable:
        names = ", ".join(row["path"] for row in unreadable[:5]) + (", ..." if len(unreadable) > 5 else "")
        remarks.append(f"LEFT OUT: {_counted_videos(len(unreadable))} that cannot be read: {names}.")
    if result["recipe_changes"]:
        changes = ", ".join(f"{name} {value}" for name, value in result["recipe_changes"].items())
        remarks.append(
            f"CHANGED from the recipe {result['recipe']}: {changes}. Published figures of the recipe do not apply."
        )
    if result["style"] != result["checkpoint_style"]:
        remarks.append(
            f"MIXED: the checkpoint is of style {result['checkpoint_style']}; its published figures were obtained in that style."
        )
    if rows and result["tested"] < result["full_set"]:
        remarks.append(
            f"A subset: {result['tested']} of the {result['full_set']} videos behind the published figures. Compare the interval, "
            "not the number."
        )
    elif not rows and not result["recipe_changes"]:
        remarks.append("Nothing is published for this recipe, protocol and style.")
    low, high = result["top1_interval"]
    for place in ("inside", "above", "below"):
        there = [
            f"{row.percent('top1')} ({row.source})"
            for row in rows
            if place == ("above" if row.top1 > high else "below" if row.top1 < low else "inside")
        ]
        if there:
            remarks.append(f"Published top-1 {place} the interval: {', '.join(there)}.")
    return remarks

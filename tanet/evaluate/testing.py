"""Testing: plans a test and runs it in one or several processes.

A protocol says which clips and crops of a video are scored. The recipe says how many frames, at which size, and whose
style of resizing, cropping and averaging. The style is the checkpoint's unless another one is asked for.
"""

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from tanet import checkpoint, recipes
from tanet.checkpoint import Checkpoint, classifier_names
from tanet.data import SKIPPING, VideoList, datasets_at, load_list
from tanet.errors import CheckpointError, VideoError
from tanet.evaluate.partial import PartialScores
from tanet.evaluate.report import check_target, path_below, summarize, write_result
from tanet.evaluate.scoring import score_videos
from tanet.recipes import FULL_SETS, SPEED_FIELDS, Protocol, Recipe, get_protocol, published_results
from tanet.runtime import launch, process_group, repeatable, require_gpus, sha256, user_path

OTHER_VIDEOS = {"dataset", "num_classes"}  # fields that, changed, mean other videos than the published set


@dataclass(frozen=True)
class Test:
    """A test, planned and checked: everything that decides its result but the device."""

    __test__ = False  # the name would make pytest collect it

    stored: Checkpoint
    recipe: Recipe
    protocol: Protocol
    videos: VideoList  # the videos to test
    listed: int  # videos in the list
    about_list: dict  # its name, number of videos, SHA-256, and what is odd about it
    columns: tuple[int, ...]  # of the classifier, for each class of the label file
    class_order: str  # in words


@dataclass(frozen=True)
class _Job:
    """A test with where it runs and where its result goes: all that a process of the test is given."""

    test: Test
    facts: dict  # of the result, as `_facts` gives them
    data_root: Path
    out: Path | None
    partial: PartialScores | None
    use_gpu: bool
    on_error: str


def plan(
    source: str | os.PathLike | Checkpoint,
    data_root: str | os.PathLike,
    protocol: str | None = None,
    missing: str = "raise",
    recipe: Recipe | None = None,
    style: str | None = None,
    remap_classes: bool = False,
    subset: int | None = None,
    val_list: str | os.PathLike | None = None,
) -> Test:
    """Checks a checkpoint against the data below `data_root` and plans its test; arguments as for `run`."""
    if protocol is not None:
        get_protocol(protocol)  # an unknown one is an error before anything is read
    stored = source if isinstance(source, Checkpoint) else checkpoint.read(source)
    recipe = checkpoint.recipe_of(stored, recipe, datasets_at(data_root) or None)
    if style:
        recipe = recipes.in_style(recipe, style)
    videos = load_list(recipe, data_root, "val", missing, val_list, unlabelled=True)
    columns, class_order = _columns(stored, recipe, videos.class_names, remap_classes)
    return Test(
        stored=stored,
        recipe=recipe,
        protocol=get_protocol(protocol or recipe.protocols[0]),
        videos=_subset(videos, subset),
        listed=len(videos) + len(videos.missing),
        about_list=_about_list(videos, stored),
        columns=columns,
        class_order=class_order,
    )


def _columns(stored: Checkpoint, recipe: Recipe, listed: tuple[str, ...], remap: bool) -> tuple[tuple[int, ...], str]:
    """The classifier's column for each class of the label file, and in words how its order is known."""
    names = classifier_names(stored, recipe, listed)
    columns = tuple(names.index(name) for name in listed)
    if names == listed:
        return columns, "in the order of the label file"
    if stored.class_order == "sorted" and names == tuple(sorted(listed)):
        return columns, "sorted in the checkpoint, remapped to the label file's order"
    if not remap:
        first = next(index for index, name in enumerate(names) if name != listed[index])
        raise CheckpointError(
            f"{stored.path}: has its classes in another order than the data's label file: class {first} is "
            f"{names[first]!r} there, {listed[first]!r} in the label file. If the names are right, pass "
            "remap_classes=True (--remap-classes)"
        )
    return columns, "named in the checkpoint, remapped to the label file's order"


def _about_list(videos: VideoList, stored: Checkpoint) -> dict:
    """What a result says of the list that was tested."""
    remarks = list(videos.remarks)
    data = stored.rest.get("data") if stored.layout == "tanet" else None  # of a training here, its lists
    if data and data["train"]["sha256"] == videos.digest():
        remarks.append("these are the videos that the checkpoint was trained on")
    return {
        "name": videos.file.name,
        "videos": len(videos) + len(videos.missing),
        "sha256": videos.digest() if videos.file.is_dir() else sha256(videos.file),  # of the names, of the file
        "remarks": remarks,
    }


def _subset(videos: VideoList, count: int | None) -> VideoList:
    """`count` videos drawn at random, the same ones each time, in list order."""
    if count is None or count >= len(videos):
        return videos
    if count < 1:
        raise ValueError(f"subset must be at least 1 video, got {count}")
    drawn = np.sort(np.random.default_rng(0).permutation(len(videos))[:count])
    return replace(videos, samples=tuple(videos.samples[index] for index in drawn))


def run(
    source: str | os.PathLike | Checkpoint,
    data_root: str | os.PathLike,
    protocol: str | None = None,
    out: str | os.PathLike | None = None,
    gpus: int = 0,
    processes: int = 1,
    missing: str = "raise",
    recipe: Recipe | None = None,
    style: str | None = None,
    remap_classes: bool = False,
    subset: int | None = None,
    val_list: str | os.PathLike | None = None,
    on_error: str = "raise",
    nodes: int = 1,
    rendezvous: str = "",
) -> dict:
    """Tests a checkpoint of any layout on the validation videos below `data_root`; returns the result.

    `protocol`: by default the first one of the recipe.
    `recipe`: needed where the checkpoint does not name its recipe and several fit. The style stays the checkpoint's.
    `style`: tests in another style.
    `remap_classes`: accepts class names in another order than the label file's.
    `subset`: only this many videos, drawn at random.
    `val_list`: a list of videos, see tanet.data.lists, instead of the publisher's annotations.
    `missing`: "raise" or "skip" listed videos that do not exist.
    `on_error`: "raise", or "skip" videos that cannot be read. The result names the skipped videos and says how many of
    how many videos were tested.
    `gpus`, `processes`, `nodes`, `rendezvous`: as for tanet.train.launch.

    Every video is scored once, and its scores do not depend on the number of processes. Under torchrun every process
    calls this function. With `out` the result goes to that file, with every video's scores, and a page for reading goes
    to the same name ending in .md. A killed test resumes where it was. A list without labels gives scores and the five
    best classes of each video, and no accuracy. Raises CheckpointError, DataError, VideoError,
    FileNotFoundError or ValueError, and LaunchError if one of several processes fails.
    """
    if on_error not in SKIPPING:
        raise ValueError(f"on_error must be raise or skip, got {on_error!r}")
    data_root, out = user_path(data_root), out and user_path(out)
    test = plan(source, data_root, protocol, missing, recipe, style, remap_classes, subset, val_list)
    if out is not None:
        check_target(out)
    if gpus:
        require_gpus(1)
    facts = _facts(test, torch.cuda.get_device_name() if gpus else "cpu")
    partial = None
    if out is not None:
        partial = PartialScores(out, {**facts, "videos": _digest(test.videos, data_root)})
        partial.check()
    job = _Job(
        test=test,
        facts=facts,
        data_root=data_root,
        out=out,
        partial=partial,
        use_gpu=gpus > 0,
        on_error=on_error,
    )
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun has started the processes
        return _run(job)
    with TemporaryDirectory(prefix="tanet-") as folder:
        if nodes * (gpus or processes) > 1:
            job = replace(job, test=_with_weights_in(folder, test))
        return launch(_run, (job,), gpus, processes, nodes, rendezvous)


def _with_weights_in(folder: str, test: Test) -> Test:
    """The test with its weights in a file, from which each process reads them.

    Sent to the processes, every tensor would take an open file and shared memory.
    """
    weights = Path(folder, "weights.safetensors")
    checkpoint.write_safetensors(weights, test.stored.weights, {})
    return replace(test, stored=replace(test.stored, path=weights, weights={}, rest={}))


def _run(job: _Job) -> dict:
    """Runs in every process of the test; returns the result in each."""
    test, recipe, stored = job.test, job.test.recipe, job.test.stored
    with process_group(job.use_gpu, recipe.workers) as process, repeatable(process.device):
        if not stored.weights:
            stored = replace(stored, weights=checkpoint.read(stored.path).weights)
        model, _, _ = checkpoint.load_model(stored, recipe)
        model.to(process.device, memory_format=torch.channels_last)
        scores, unreadable = score_videos(
            model, test.videos, test.protocol.name, recipe, process, job.partial, job.on_error
        )
        result = {**job.facts, **_summary(test, scores, unreadable, job.data_root)}
        if job.out is not None and process.is_main:
            write_result(result, job.out)
            job.partial.remove()
        process.gather(None)  # no process returns before the result is written
    return result


def _summary(test: Test, scores: dict[int, np.ndarray], unreadable: dict[int, str], data_root: Path) -> dict:
    """Metrics and rows of the videos that were scored, and names and reasons of those that could not be read."""
    if not scores:
        raise VideoError(f"{unreadable[0]}; nor can any other of the {len(unreadable)} videos be read")
    samples = test.videos.samples
    indices = sorted(scores)
    scored_videos = replace(test.videos, samples=tuple(samples[index] for index in indices))
    scores_in_label_order = np.stack([scores[index] for index in indices])[:, test.columns]
    left_out = [
        {"path": path_below(samples[index].path, data_root), "reason": unreadable[index]}
        for index in sorted(unreadable)
    ]
    return {
        "tested": len(scores),
        "list": test.about_list,
        "unreadable": left_out,
        **summarize(scores_in_label_order, scored_videos, data_root),
    }


def _facts(test: Test, device: str) -> dict:
    """Everything that decides the scores, but for the videos."""
    stored, recipe, protocol = test.stored, test.recipe, test.protocol
    size = recipe.test_size if protocol.crops == 3 else recipe.crop_size
    changes = _changes(test)
    has_full_set = bool(published_results(recipe.name)) and not OTHER_VIDEOS & changes.keys()
    facts = {"weights": stored.weight_set} if stored.weight_set else {}
    return {
        **facts,
        "checkpoint": stored.path.name,
        "sha256": sha256(stored.path),
        "layout": stored.layout,
        "source": stored.source,
        "recipe": recipe.name,
        "recipe_changes": changes,
        "protocol": protocol.name,
        "views": f"{_counted(protocol.clips, 'clip')} x {_counted(protocol.crops, 'crop')} of {size}",
        "frames": recipe.num_frames,
        "style": recipe.style,
        "checkpoint_style": stored.style,
        "class_order": test.class_order,
        "device": device,
        "torch": torch.__version__,
        "precision": "float32",
        "tested": len(test.videos),
        "listed": test.listed,
        "full_set": FULL_SETS[recipe.dataset] if has_full_set else None,
    }


def _changes(test: Test) -> dict:
    """Field -> value: what differs from the preset in the training, if its recipe is known, and in the test.

    As JSON gives it back, because a resumed test compares it with what was stored.
    """
    trained = recipes.changes_of(test.stored.recipe) if test.stored.recipe else {}
    changes = {**trained, **recipes.changes_of(test.recipe)}
    return json.loads(json.dumps({name: value for name, value in changes.items() if name not in SPEED_FIELDS}))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _digest(videos: VideoList, data_root: str | os.PathLike) -> str:
    rows = [[path_below(sample.path, data_root), sample.label] for sample in videos.samples]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

"""What a training says when it begins, and when it has to end."""

from pathlib import Path

from tanet.checkpoint import Checkpoint
from tanet.data import (
    Unreadable,
    VideoList,
    describe_frames,
    describe_readers,
    directed_classes,
    is_video_file,
    shared,
    undrawn_frames,
)
from tanet.errors import Stopped, VideoError
from tanet.recipes import Recipe
from tanet.runtime import WARM_UP
from tanet.train.state import Training


def announce(training: Training, stored: Checkpoint | None, warning: str, train: VideoList, val: VideoList) -> None:
    """Prints what is odd about the lists, which decoder reads the videos, how frames are named if not as published,
    what flips do to classes with a direction, whether steps are CUDA graphs and, for a resumed run, its position.

    Warns, too, about frames of the videos that the rest of the training will never draw.
    """
    if warning:
        print(warning, flush=True)
    for videos in (train, val):
        for remark in videos.remarks:
            print(f"{videos.file}: {remark}", flush=True)
    for remark in shared(train.samples, val.samples):
        print(remark, flush=True)
    samples = train.samples + val.samples
    files = [sample for sample in samples if is_video_file(sample.path.name)]
    if files:
        print(describe_readers(sample.probe for sample in files), flush=True)
    if naming := describe_frames(sample.path for sample in samples if not is_video_file(sample.path.name)):
        print(naming, flush=True)
    if training.epoch < training.recipe.epochs and (undrawn := undrawn_frames(train.samples, training.recipe)):
        print(undrawn, flush=True)
    if flips := _flips(training.recipe.flip, training.class_names):
        print(flips, flush=True)
    if training.graphs is not None:
        print(f"training steps run as CUDA graphs, after {WARM_UP} that do not", flush=True)
    if stored is None:
        return
    text = f"{len(training.history)} of {training.recipe.epochs} epochs are done"
    if training.clips:
        text += f", and {training.clips} clips of the next"
    before, now = len(stored.rest["sums"]), training.process.world_size
    if before != now:
        text += (
            f". {before} process(es) made it, {now} go on from the same clip: the batch of a step is {now}/{before} of "
            "what it was, the rate follows it, and the result will differ from that of an undisturbed run"
        )
    print(f"run {training.run_dir.name}: {text}", flush=True)


def announce_kept(run_dir: Path, kept: Recipe, asked: Recipe) -> None:
    """Prints the fields in which a run goes on as it was begun, see run_folder.check."""
    fields = [f"{name} {value}" for name, value in vars(kept).items() if value != getattr(asked, name)]
    print(f"run {run_dir.name}: goes on with its own {', '.join(fields)}", flush=True)


def _flips(flip: str, class_names: tuple[str, ...]) -> str:
    """What flipped clips of classes with a direction in their names are taught; "" if there is nothing to say."""
    names = directed_classes(list(class_names), without_partner=flip == "swap")
    if flip == "none" or not names:
        return ""
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    text = f"{len(names)} of {len(class_names)} class names say left, right or a turn"
    if flip == "swap":
        return f"{text} and have no mirrored class, or several, so their flipped clips keep the label: {listed}"
    return f"{text}, and flip=plain keeps the label of their flipped clips; --set flip=swap swaps it: {listed}"


def stopped(training: Training, signal: int) -> Stopped:
    """The error of a training that has saved its state and stops because of `signal`."""
    return Stopped(
        f"stopped in epoch {training.epoch + 1} of {training.recipe.epochs}, after {training.clips} of its clips; "
        f"saved in {training.run_dir}, and the same call goes on from there",
        signal,
    )


def empty_batch(unreadable: list[Unreadable]) -> VideoError:
    """The error for a batch without a readable video."""
    paths = ", ".join(bad.reason.partition(": ")[0] for bad in unreadable)
    return VideoError(
        f"{unreadable[0].reason}; nor can any other video of its batch, of {len(unreadable)}, be read: "
        f"leave them out of the list, or use larger batches. They are {paths}"
    )

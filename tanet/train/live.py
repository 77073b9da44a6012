"""The view of a running training in JupyterLab: a bar and curves that follow the run's metrics.jsonl."""

import html
import io
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tanet import visualize
from tanet.recipes import Recipe
from tanet.runtime import in_jupyter
from tanet.train import run_folder

LOOK_EVERY = 1.0  # seconds between looks at the file
DRAW_EVERY = 5.0  # seconds between drawings of the curves; one takes a tenth of a second of this process's time


@contextmanager
def view(run_dir: str | os.PathLike, recipe: Recipe) -> Iterator[bool]:
    """Shows the progress of the training in `run_dir` during the block.

    Yields whether it does: it needs a cell of a notebook in JupyterLab.
    """
    if not (in_jupyter() and _in_cell()):
        yield False
        return
    outputs, done = _Outputs(Path(run_dir), recipe.epochs), threading.Event()
    follower = threading.Thread(target=_follow, args=(outputs, done), daemon=True)
    follower.start()
    try:
        yield True
    finally:
        done.set()
        follower.join()
        _update(outputs, draw=True)


def _in_cell() -> bool:
    """Whether this process is a notebook's kernel. A !command of a cell has the same environment, but no IPython."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _follow(outputs: "_Outputs", done: threading.Event) -> None:
    drawn_at = 0.0
    while not done.wait(LOOK_EVERY):
        draw = time.monotonic() - drawn_at >= DRAW_EVERY
        if _update(outputs, draw) and draw:
            drawn_at = time.monotonic()


def _update(outputs: "_Outputs", draw: bool) -> bool:
    """Updates the outputs. An error in the view becomes a warning: it must not end the training."""
    try:
        return outputs.update(draw)
    except Exception as error:
        warnings.warn(f"the live view failed: {type(error).__name__}: {error}", stacklevel=2)
        return False


class _Outputs:
    """The two outputs of a notebook's cell: the bar, and below it the curves."""

    def __init__(self, run_dir: Path, epochs: int):
        from IPython.display import HTML, display  # here: a training in a shell needs no IPython

        self.metrics, self.epochs = run_dir / "metrics.jsonl", epochs
        self.read_stamp = self.drawn_stamp = None  # of the file when the bar and the curves were last updated
        self.html = HTML
        self.bar = display(HTML(bar([], epochs)), display_id=True)
        self.curves = display(HTML(""), display_id=True)

    def update(self, draw: bool) -> bool:
        """Shows the file's new rows in the bar and, with `draw`, in the curves; returns whether it drew the curves."""
        stamp = self.metrics.stat().st_mtime_ns if self.metrics.exists() else None
        if stamp is None or stamp == (self.drawn_stamp if draw else self.read_stamp):
            return False
        rows = run_folder.read_metrics(self.metrics.parent, steps=None)
        self.bar.update(self.html(bar(rows, self.epochs)))
        self.read_stamp = stamp
        if draw:
            self.curves.update(_image(visualize.training_curves(rows)))
            self.drawn_stamp = stamp
        return draw


def bar(rows: list[dict], epochs: int) -> str:
    """HTML of a progress bar for rows of metrics.jsonl, with the last row's figures in words."""
    if not rows:
        return _html(0.0, "preparing the training")
    last = rows[-1]
    words = [
        f"epoch {min(int(last['progress']) + 1, epochs)} of {epochs}",
        f"loss {last['loss']:.3f}",
        f"{last['clips_per_second']:.0f} clips/s",
        f"{last['data_wait']:.0%} of the time waiting for data",
        f"{last['peak_memory_mib']:.0f} MiB",
    ]
    finished_epochs = [row for row in rows if "step" not in row]
    if finished_epochs:
        words.append(f"validation top-1 {finished_epochs[-1]['val_top1']:.1f}%")
    return _html(last["progress"] / epochs, ", ".join(words))


def _html(share: float, words: str) -> str:
    return f'<progress value="{share:.4f}" max="1" style="width: 60%"></progress> {share:.0%}<br>{html.escape(words)}'


def _image(figure):
    from IPython.display import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return Image(buffer.getvalue())

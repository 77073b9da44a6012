"""A training as it goes, in JupyterLab: a bar and curves that follow the run's metrics.jsonl, whoever writes it."""

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
DRAW_EVERY = 5.0  # seconds between drawings of the curves, which take a tenth of a second of this process's time


@contextmanager
def shown(run_dir: str | os.PathLike, recipe: Recipe) -> Iterator[bool]:
    """Shows how far the training in `run_dir` is while the block runs; yields whether anybody is there to see it."""
    if not (in_jupyter() and _in_cell()):
        yield False
        return
    view, done = _View(Path(run_dir), recipe.epochs), threading.Event()
    follower = threading.Thread(target=_follow, args=(view, done), daemon=True)
    follower.start()
    try:
        yield True
    finally:
        done.set()
        follower.join()
        _update(view, draw=True)


def _in_cell() -> bool:
    """A notebook's !command runs in the same environment, but shows no outputs."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _update(view: "_View", draw: bool) -> bool:
    """A view that fails says so in the notebook; it must not decide how the training ends."""
    try:
        return view.update(draw)
    except Exception as error:
        warnings.warn(f"the live view failed: {type(error).__name__}: {error}", stacklevel=2)
        return False


def _follow(view: "_View", done: threading.Event) -> None:
    drawn = 0.0
    while not done.wait(LOOK_EVERY):
        draw = time.monotonic() - drawn >= DRAW_EVERY
        if _update(view, draw) and draw:
            drawn = time.monotonic()


class _View:
    """Two outputs of a notebook's cell: the bar, and below it the curves."""

    def __init__(self, run_dir: Path, epochs: int):
        from IPython.display import HTML, display  # here: a training in a shell needs no IPython

        self.path, self.epochs, self.seen, self.drawn = run_dir / "metrics.jsonl", epochs, None, None
        self.show_bar = HTML
        self.bar = display(HTML(bar([], epochs)), display_id=True)
        self.curves = display(HTML(""), display_id=True)

    def update(self, draw: bool) -> bool:
        """Shows what is new since the last look; says whether the curves were drawn."""
        stamp = self.path.stat().st_mtime_ns if self.path.exists() else None
        if stamp is None or stamp == (self.drawn if draw else self.seen):
            return False
        rows = run_folder.read_metrics(self.path.parent, steps=None)
        self.bar.update(self.show_bar(bar(rows, self.epochs)))
        self.seen = stamp
        if draw:
            self.curves.update(_image(visualize.training_curves(rows)))
            self.drawn = stamp
        return draw


def bar(rows: list[dict], epochs: int) -> str:
    """The last of metrics.jsonl's rows as a progress bar with what it says in words, HTML."""
    if not rows:
        return _html(0.0, "preparing the training")
    last = rows[-1]
    words = [f"epoch {min(int(last['progress']) + 1, epochs)} of {epochs}", f"loss {last['loss']:.3f}"]
    words += [f"{last['clips_per_second']:.0f} clips/s", f"{last['data_wait']:.0%} of the time waiting for data"]
    words += [f"{last['peak_memory_mib']:.0f} MiB"]
    tested = [row for row in rows if "step" not in row]
    if tested:
        words.append(f"validation top-1 {tested[-1]['val_top1']:.1f}%")
    return _html(last["progress"] / epochs, ", ".join(words))


def _html(share: float, words: str) -> str:
    return f'<progress value="{share:.4f}" max="1" style="width: 60%"></progress> {share:.0%}<br>{html.escape(words)}'


def _image(figure):
    from IPython.display import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return Image(buffer.getvalue())

"""The tests of a run by every protocol of its recipe."""

import os

from tanet import checkpoint
from tanet.evaluate.testing import run
from tanet.runtime import user_path


def run_protocols(run_dir: str | os.PathLike, data_root: str | os.PathLike, **options) -> dict[str, dict]:
    """Tests the last checkpoint of the run in `run_dir` by each protocol of its recipe; returns {protocol: result}.

    Each result goes to result-PROTOCOL.json in `run_dir`. `options` and errors are those of `run`.
    """
    run_dir = user_path(run_dir)
    stored = checkpoint.read(run_dir / "checkpoints" / "last.pth")
    return {
        protocol: run(stored, data_root, protocol, run_dir / f"result-{protocol}.json", **options)
        for protocol in stored.recipe.protocols
    }

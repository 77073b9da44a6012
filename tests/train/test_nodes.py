"""Two "nodes" on this machine: two agents of torchrun that meet over loopback, a process each."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tanet import evaluate, train
from tanet.train import run_folder


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def agents(something_root, run_dir, *flags):
    """Both agents of a run, each in a session of its own."""
    rendezvous = ["--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{free_port()}", "--rdzv-id=run"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", *rendezvous]
    train = ["-m", "tanet.train", "--recipe=demo_something", f"--data-root={something_root}", f"--run-dir={run_dir}"]
    fields = ["--set=workers=0", "--set=clips_per_process=4", "--set=lr_steps=[]", *flags]
    command = [*torchrun, *train, *fields]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen(command, start_new_session=True, **pipes) for _ in range(2)]


def test_two_nodes_train_together(tmp_path, something_root):
    run_dir = tmp_path / "run"
    both = agents(something_root, run_dir, "--set=epochs=2")
    ended = [agent.communicate(timeout=120) for agent in both]
    assert [agent.returncode for agent in both] == [0, 0], ended
    assert sum(out.count("epoch 2/2: loss") for out, _ in ended) == 1  # said once
    rows = run_folder.read_metrics(run_dir)
    assert [(row["epoch"], row["clips"]) for row in rows] == [(1, 32), (2, 32)]
    assert len(run_folder.newest(run_dir)[0].rest["sums"]) == 2


NOTEBOOK = """
import sys
from tanet import evaluate, recipes, train
root, run_dir, rendezvous = sys.argv[1:]
if __name__ == "__main__":
    recipe = recipes.get("demo_something").with_changes(
        {"workers": 0, "clips_per_process": 4, "epochs": 1, "lr_steps": []})
    where = {"nodes": 2, "rendezvous": rendezvous}
    metrics = train.launch(recipe, root, run_dir, **where)
    for protocol in ("sth-efficient", "sth-accurate"):
        result = evaluate.run(f"{run_dir}/checkpoints/last.pth", root, protocol, f"{run_dir}/{protocol}.json", **where)
        print(metrics[-1]["val_top1"], result["top1"], result["tested"])
"""


def test_two_notebooks_on_two_nodes_train_and_test_together(tmp_path, something_root):
    """As papermill runs one on each node: each calls launch and run, several times, and gets the same numbers."""
    (tmp_path / "cells.py").write_text(NOTEBOOK)
    run_dir = tmp_path / "run"
    command = [sys.executable, tmp_path / "cells.py", something_root, run_dir, f"localhost:{free_port()}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(list(map(str, command)), **pipes) for _ in range(2)]
    ended = [node.communicate(timeout=200) for node in both]
    assert [node.returncode for node in both] == [0, 0], ended
    one, other = ([line for line in out.splitlines() if line.endswith(" 16")] for out, _ in ended)
    assert one == other and len(one) == 2
    assert len(run_folder.newest(run_dir)[0].rest["sums"]) == 2
    alone = evaluate.run(run_dir / run_folder.LAST, something_root, "sth-accurate", tmp_path / "alone.json")
    assert (tmp_path / "alone.json").read_bytes() == (run_dir / "sth-accurate.json").read_bytes()
    assert alone["tested"] == 16


@pytest.mark.parametrize("rendezvous", ["", "somewhere", "somewhere:", ":29500"])
def test_several_nodes_must_know_where_they_meet(tmp_path, something_root, something_recipe, rendezvous):
    with pytest.raises(ValueError, match="HOST:PORT"):
        train.launch(something_recipe, something_root, tmp_path / "run", nodes=2, rendezvous=rendezvous)


def kill(agent, whole_node):
    """The agent alone, or with the process that it started, which has a session of its own."""
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split() if whole_node else []
    os.killpg(agent.pid, signal.SIGKILL)
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    agent.communicate()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes as Linux lists them")
@pytest.mark.parametrize("whole_node", [True, False])
def test_the_loss_of_a_node_ends_the_other_soon_and_the_run_goes_on(tmp_path, something_root, whole_node):
    run_dir, flags = tmp_path / "run", ["--set=epochs=1000", "--save-minutes=0"]
    one, other = agents(something_root, run_dir, *flags)
    wait_for(lambda: (run_dir / run_folder.PREVIOUS).exists())
    kill(other, whole_node)
    lost = time.monotonic()
    said = one.communicate(timeout=100)
    assert one.returncode != 0 and time.monotonic() - lost < 90, said
    done = position(run_dir)
    again = agents(something_root, run_dir, *flags)
    wait_for(lambda: position(run_dir) > done)
    for agent in again:
        kill(agent, True)


def position(run_dir):
    found = run_folder.newest(run_dir)[0].rest
    return found["epoch"], found["clips"]


def wait_for(condition):
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)

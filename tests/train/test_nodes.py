"""Two "nodes" on this machine: two agents that meet over loopback, with a process each."""

import os
import signal
from pathlib import Path

import pytest
import torch.distributed as dist
from support.children import is_unused, kill, launch_by_fork, reserved_ports, said, start, start_group, wait, wait_until
from torch.distributed import run as torchrun

from tanet import evaluate, recipes, train
from tanet.train import run_folder

pytestmark = pytest.mark.slow

CHANGES = {"workers": 0, "clips_per_process": 4, "lr_steps": []}


@pytest.fixture
def agents(tmp_path, something_root):
    """Starts both agents of a run: torchrun's main in children, with workers that are new interpreters."""

    def start_both(run_dir, *flags):
        # The store where they meet lives in this process, at a port that the system chose.
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        rendezvous = ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{store.port}", "--rdzv-conf=is_host=false"]
        command = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-id=run", "--local-addr=127.0.0.1", *rendezvous]
        command += ["-m", "tanet.train", "--recipe=demo_something", f"--data-root={something_root}"]
        command += [f"--run-dir={run_dir}", "--set=workers=0", "--set=clips_per_process=4", "--set=lr_steps=[]"]
        both = []
        for name in ("one", "other"):
            agent = start(torchrun.main, [*command, *flags], output=tmp_path / f"{name}.txt")
            agent.store = store
            both.append(agent)
        return both

    return start_both


def test_two_nodes_train_together(tmp_path, agents):
    run_dir = tmp_path / "run"
    both = agents(run_dir, "--set=epochs=2")
    assert wait(*both) == [0, 0], said(*both)
    assert said(*both).count("epoch 2/2: loss") == 1
    rows = run_folder.read_metrics(run_dir)
    assert [(row["epoch"], row["clips"]) for row in rows] == [(1, 32), (2, 32)]
    assert len(run_folder.newest(run_dir)[0].rest["sums"]) == 2


def notebook(data_root, run_dir, rendezvous):
    """Cells that a node runs one after the other."""
    recipe = recipes.get("demo_something").with_changes(CHANGES | {"epochs": 1})
    where = {"nodes": 2, "rendezvous": rendezvous}
    metrics = train.launch(recipe, data_root, run_dir, **where)
    for protocol in ("sth-efficient", "sth-accurate"):
        result = evaluate.run(run_dir / run_folder.LAST, data_root, protocol, run_dir / f"{protocol}.json", **where)
        print(metrics[-1]["val_top1"], result["top1"], result["tested"], flush=True)


def test_two_notebooks_on_two_nodes_train_and_test_together(tmp_path, something_root):
    """As papermill runs one on each node: each calls launch and run, several times, and gets the same numbers."""
    run_dir, outputs = tmp_path / "run", [tmp_path / "one.txt", tmp_path / "other.txt"]
    with reserved_ports(3) as port:  # a port for each launch
        arguments = (something_root, run_dir, f"localhost:{port}")
        both = [start(notebook, *arguments, hook=launch_by_fork, output=output) for output in outputs]
        assert wait(*both) == [0, 0], said(*both)
    one, other = ([line for line in said(node).splitlines() if line.endswith(" 16")] for node in both)
    assert one == other and len(one) == 2
    assert len(run_folder.newest(run_dir)[0].rest["sums"]) == 2
    alone = evaluate.run(run_dir / run_folder.LAST, something_root, "sth-accurate", tmp_path / "alone.json")
    assert (tmp_path / "alone.json").read_bytes() == (run_dir / "sth-accurate.json").read_bytes()
    assert alone["tested"] == 16


@pytest.mark.parametrize("rendezvous", ["", "somewhere", "somewhere:", ":29500"])
def test_several_nodes_must_know_where_they_meet(tmp_path, something_root, something_recipe, rendezvous):
    with pytest.raises(ValueError, match="HOST:PORT"):
        train.launch(something_recipe, something_root, tmp_path / "run", nodes=2, rendezvous=rendezvous)


def lose(agent, whole_node):
    """The agent is killed alone, or with the process that it started, which has a session of its own."""
    workers = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split() if whole_node else []
    kill(agent)
    for worker in workers:
        os.kill(int(worker), signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes as Linux lists them")
def test_the_loss_of_a_node_ends_the_other_and_the_run_goes_on(tmp_path, agents, something_root):
    """First a whole node is lost, then only an agent, whose worker must notice and end."""
    run_dir, flags = tmp_path / "run", ["--set=epochs=1000000", "--save-minutes=0"]
    done = (0, 0)
    for whole_node in (True, False):
        one, other = agents(run_dir, *flags)
        wait_until(lambda: position(run_dir) > done, one, other)  # noqa: B023
        lose(other, whole_node)
        assert wait(one) != [0], said(one)
        wait_until(lambda: is_unused(run_dir))  # no worker is left
        done = position(run_dir)
    recipe = recipes.get("demo_something").with_changes(CHANGES | {"epochs": 1000000})
    both = start_group(2, train.fit, recipe, something_root, run_dir)
    wait_until(lambda: position(run_dir) > done, *both)
    kill(*both)


def position(run_dir):
    stored, _ = run_folder.newest(run_dir)
    return (stored.rest["epoch"], stored.rest["clips"]) if stored else (0, 0)

"""Training: `fit` in one process, `launch` or torchrun for several, `python -m tanet.train` from a shell.

A run is a folder: recipe.json, metrics.jsonl (one line an epoch), checkpoints/{last,best}.pth. Whoever shows or resumes
a run reads that folder. `fit` on a folder that holds a part of the run goes on from its last finished epoch.
"""

import argparse
import json
import os
import resource
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tanet import checkpoint, recipes
from tanet.data import VideoList, load_list, training_loader, validation_loader
from tanet.distributed import Process, process_group
from tanet.distributed import launch as launch_processes
from tanet.files import atomic_write
from tanet.metrics import label_ranks
from tanet.model import TANet, build
from tanet.numerics import FORMATS, autocast, choose
from tanet.progress import track
from tanet.recipes import Recipe

LAST = Path("checkpoints") / "last.pth"


def launch(
    recipe: Recipe, data_root: str | os.PathLike, run_dir: str | os.PathLike, gpus: int = 0, processes: int = 1, **options
) -> list[dict]:
    """`fit` on `gpus` GPUs of this machine, or in `processes` CPU processes with gpus=0; `options` go to `fit`.

    For notebooks and scripts. Returns the run's metrics, one dict an epoch.
    """
    return launch_processes(partial(fit, use_gpu=gpus > 0, **options), (recipe, data_root, run_dir), gpus, processes)


def fit(
    recipe: Recipe,
    data_root: str | os.PathLike,
    run_dir: str | os.PathLike,
    use_gpu: bool = False,
    missing: str = "raise",
) -> list[dict]:
    """Trains `recipe` on the data below `data_root` into `run_dir`; returns metrics.jsonl, one dict an epoch.

    Under torchrun every process calls it. `missing` ("raise" or "skip") is what to do about listed videos that are not
    there. Everything that can be checked is checked before the first step: recipe, lists, files, GPUs, and that
    `run_dir` holds no other run.
    """
    run_dir = Path(run_dir)
    with process_group(use_gpu, recipe.workers) as process:
        train_videos = load_list(recipe, data_root, "train", missing)
        val_videos = load_list(recipe, data_root, "val", missing)
        if train_videos.class_names != val_videos.class_names:
            raise ValueError(f"{data_root}: train and val lists disagree on the classes")
        _check_run_dir(run_dir, recipe)
        # In a function of its own, so that the distributed network is gone before the group it talks through: the other
        # order can deadlock.
        return _run_epochs(recipe, train_videos, val_videos, run_dir, process)


def _run_epochs(
    recipe: Recipe, train_videos: VideoList, val_videos: VideoList, run_dir: Path, process: Process
) -> list[dict]:
    train_loader = training_loader(train_videos, recipe, process.rank, process.world_size)
    val_loader = validation_loader(val_videos, recipe, process.rank, process.world_size)
    torch.manual_seed(recipe.seed)
    resumes = (run_dir / LAST).exists()
    model = _initial_model(recipe, train_videos.class_names, resumes, process).to(process.device)
    optimizer = torch.optim.SGD(parameter_groups(model, recipe), lr=recipe.lr, momentum=recipe.momentum)
    if resumes:
        stored = checkpoint.read(run_dir / LAST)
        checkpoint.load_weights(model, stored)
        optimizer.load_state_dict(stored.rest["optimizer"])
        history, numerics = stored.rest["history"], stored.rest["numerics"]
    else:
        history, numerics = [], choose(model, recipe, process)
    precision = numerics["precision"]
    model.to(memory_format=FORMATS[numerics["memory_format"]])
    if process.is_main:
        _prepare_run_dir(run_dir, recipe, history, train_videos.missing + val_videos.missing)
    network = _distributed(model, process)
    for epoch in range(len(history), recipe.epochs):
        row = {"epoch": epoch + 1}
        row |= train_epoch(network, optimizer, train_loader, recipe, epoch, process, precision)
        process.share_buffers(model)  # each process has seen other clips, and has its own running statistics
        row |= validate(model, val_loader, recipe, epoch, process, precision)
        row["peak_memory_mib"] = _peak_memory_mib(process.device)
        history.append(row)
        if process.is_main:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "history": history,
                "numerics": numerics,
                "recipe": recipe.to_json(),
                "class_names": list(train_videos.class_names),
            }
            _record(run_dir, recipe, state)
    return history


def parameter_groups(model: TANet, recipe: Recipe) -> list[dict]:
    """SGD groups with the published multipliers of rate (`lr_scale`) and weight decay.

    BatchNorm: no decay. Biases: rate x2, no decay. Classifier: weight x5 (`classifier_lr`), bias x10 without decay. With
    `param_groups="official"` every other linear layer, TAM's global branch included, x5 too. The rest: plain.
    """
    groups = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            decays, lr_scale = True, 1.0
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                decays = False
            elif name == "bias":
                decays, lr_scale = False, 2 * recipe.classifier_lr if module is model.fc else 2.0
            elif module is model.fc:
                lr_scale = recipe.classifier_lr
            elif isinstance(module, nn.Linear) and recipe.param_groups == "official":
                lr_scale = 5.0
            groups.setdefault((lr_scale, decays), []).append(parameter)
    return [
        {"params": parameters, "lr_scale": lr_scale, "weight_decay": recipe.weight_decay if decays else 0.0}
        for (lr_scale, decays), parameters in groups.items()
    ]


def learning_rate(recipe: Recipe, progress: float, total_batch: int) -> float:
    """The rate after `progress` epochs: linear scaling with the total batch, warm-up, a tenth after each of lr_steps."""
    rate = recipe.lr * total_batch / recipe.lr_batch
    rate *= 0.1 ** sum(progress >= step for step in recipe.lr_steps)
    return rate * min(1.0, progress / recipe.warmup_epochs) if recipe.warmup_epochs else rate


def train_epoch(network, optimizer, loader, recipe: Recipe, epoch: int, process: Process, precision: str) -> dict:
    """One pass over the training clips -> what metrics.jsonl says of it."""
    network.train()
    # Dropout, too, depends on (seed, epoch, process) alone, so a resumed epoch repeats an undisturbed one.
    state = np.random.SeedSequence((recipe.seed, epoch, process.rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0]))
    loader.batch_sampler.epoch = epoch
    total_batch = recipe.clips_per_process * process.world_size
    totals = torch.zeros(3, dtype=torch.float64, device=process.device)  # loss * clips, correct, clips
    grad_norms, waited, started = [], 0.0, time.perf_counter()
    label, steps = f"epoch {epoch + 1}/{recipe.epochs}, training steps", len(loader)
    batches = iter(track(loader, steps, label, quiet=not process.is_main))
    for step in range(steps):
        asked = time.perf_counter()
        clips, labels, _ = next(batches)
        waited += time.perf_counter() - asked
        clips, labels = clips.to(process.device, non_blocking=True), labels.to(process.device, non_blocking=True)
        rate = learning_rate(recipe, epoch + step / steps, total_batch)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        with autocast(process.device, precision):
            logits = network(clips)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        grad_norms.append(nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_grad_norm))
        optimizer.step()
        correct = (logits.argmax(1) == labels).sum()
        totals += torch.stack([loss.detach().double() * len(labels), correct.double(), correct.new_tensor(len(labels)).double()])
    for _ in batches:  # lets the bar close
        pass
    loss_sum, correct, clips_seen = torch.stack(process.gather(totals.cpu())).sum(0).tolist()
    seconds = time.perf_counter() - started
    if not np.isfinite(loss_sum):
        raise FloatingPointError(f"training loss is {loss_sum} in epoch {epoch + 1}; lower lr or use precision=float32")
    return {
        "loss": loss_sum / clips_seen,
        "top1": 100 * correct / clips_seen,
        "lr": rate,
        "grad_norm": torch.stack(grad_norms).mean().item(),
        "clips_per_second": clips_seen / seconds,
        "data_wait": waited / seconds,
    }


@torch.no_grad()
def validate(model: TANet, loader, recipe: Recipe, epoch: int, process: Process, precision: str) -> dict:
    """Loss and accuracy on one centred clip of every validation video, each counted once over all processes."""
    model.eval()
    totals = torch.zeros(4, dtype=torch.float64)  # loss, top-1, top-5, clips
    label = f"epoch {epoch + 1}/{recipe.epochs}, validation batches"
    for clips, labels, _ in track(loader, len(loader), label, quiet=not process.is_main):
        with autocast(process.device, precision):
            logits = model(clips.to(process.device, non_blocking=True)).float().cpu()
        rank = label_ranks(logits.numpy(), labels.numpy())
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        totals += torch.tensor([loss, (rank < 1).sum(), (rank < 5).sum(), len(rank)], dtype=torch.float64)
    loss, top1, top5, count = torch.stack(process.gather(totals)).sum(0).tolist()
    return {"val_loss": loss / count, "val_top1": 100 * top1 / count, "val_top5": 100 * top5 / count}


def read_metrics(run_dir: str | os.PathLike) -> list[dict]:
    """The rows of a run's metrics.jsonl, one an epoch; empty if there is none yet."""
    path = Path(run_dir) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _initial_model(recipe: Recipe, class_names: tuple[str, ...], resumes: bool, process: Process) -> TANet:
    if resumes or recipe.init == "none":
        return build(recipe)
    if recipe.init == "imagenet":
        return build(recipe, recipe.init)
    model, stored = build(recipe), checkpoint.read(recipe.init)
    # A classifier of other classes, or of classes nobody knows, would only be in the way.
    loaded = checkpoint.load_weights(model, stored, classifier=stored.class_names == class_names)
    if process.is_main:
        print(f"starting from {recipe.init}: {loaded}", flush=True)
    return model


def _distributed(model: TANet, process: Process):
    if process.world_size == 1:
        return model
    return DistributedDataParallel(model, [process.device.index] if process.device.type == "cuda" else None)


def _peak_memory_mib(device: torch.device) -> float:
    """GPU memory the allocator ever held, or this process's largest resident size."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _check_run_dir(run_dir: Path, recipe: Recipe):
    stored = run_dir / "recipe.json"
    if not stored.exists():
        return
    found = json.loads(stored.read_text())
    wanted = json.loads(recipe.to_json())
    different = [f"{key}: {found.get(key)!r} there, {wanted.get(key)!r} here"
                 for key in wanted.keys() | found.keys() if found.get(key) != wanted.get(key)]  # fmt: skip
    if different:
        raise ValueError(f"{run_dir} holds a run of another recipe ({'; '.join(sorted(different))}); choose another run_dir")


def _prepare_run_dir(run_dir: Path, recipe: Recipe, history: list[dict], missing: tuple[str, ...]):
    (run_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
    with atomic_write(run_dir / "recipe.json") as file:  # other processes may be reading it
        file.write(recipe.to_json().encode())
    if missing:
        (run_dir / "missing.txt").write_text("".join(f"{name}\n" for name in missing))
        print(f"{len(missing)} listed videos are not there and left out: {run_dir / 'missing.txt'}", flush=True)
    if history:
        print(f"run {run_dir.name}: {len(history)} of {recipe.epochs} epochs are done", flush=True)
    # Rows of an epoch whose checkpoint was never finished go.
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))


def _record(run_dir: Path, recipe: Recipe, state: dict):
    row = state["history"][-1]
    if row["val_top1"] >= max(past["val_top1"] for past in state["history"]):
        checkpoint.save(run_dir / "checkpoints" / "best.pth", state)
    checkpoint.save(run_dir / LAST, state)  # after the best: a run that resumes from here has both
    with open(run_dir / "metrics.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")
    print(
        f"epoch {row['epoch']}/{recipe.epochs}: loss {row['loss']:.3f}, top-1 {row['top1']:.1f}%, "
        f"validation top-1 {row['val_top1']:.1f}%, {row['clips_per_second']:.0f} clips/s",
        flush=True,
    )


def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(prog="python -m tanet.train", description="Train a recipe; resumes what is there.")
    parser.add_argument("--recipe", required=True, help=f"one of {', '.join(recipes.RECIPES)}")
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--run-dir", required=True)
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of this machine; 0 trains on the CPU")
    parser.add_argument("--processes", type=int, default=1, help="CPU processes, with --gpus 0")
    parser.add_argument("--missing", choices=("raise", "skip"), default="raise", help="about listed videos not there")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=JSON", help="change a recipe field")
    chosen = parser.parse_args(arguments)
    recipe = recipes.get(chosen.recipe).with_changes(recipes.parse_changes(chosen.set))
    if "TORCHELASTIC_RUN_ID" in os.environ:  # under torchrun, which has started the processes
        fit(recipe, chosen.data_root, chosen.run_dir, chosen.gpus > 0, chosen.missing)
    else:
        launch(recipe, chosen.data_root, chosen.run_dir, chosen.gpus, chosen.processes, missing=chosen.missing)


if __name__ == "__main__":
    main()

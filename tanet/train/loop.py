"""Training: `fit` in one process, `launch` or torchrun for several, `python -m tanet.train` from a shell.

A run is a folder, see tanet.train.run_folder. If the folder holds an unfinished run, `fit` resumes from its newest
checkpoint, also in the middle of an epoch, and computes exactly what an uninterrupted run computes.

From top to bottom: `fit` checks everything, `_run` goes through the epochs, `_run_epoch` trains and validates one,
`train_epoch` goes through its steps, `_step` computes one.
"""

import os
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from tanet.data import (
    EpochBatches,
    Unreadable,
    VideoList,
    class_names_at,
    explain_worker_failure,
    load_list,
    training_loader,
    validation_loader,
)
from tanet.evaluate import validate
from tanet.model import freeze_stages
from tanet.recipes import Recipe
from tanet.runtime import Process, deterministic, exists, process_group, track, user_path
from tanet.runtime import launch as launch_processes
from tanet.train import live, run_folder, state
from tanet.train.graphs import compute_gradients
from tanet.train.interrupts import Interrupts, interrupts
from tanet.train.messages import announce, announce_kept, empty_batch, stopped
from tanet.train.monitor import FiniteCheck, StepTimer, peak_memory_mib
from tanet.train.optim import learning_rate
from tanet.train.run_folder import read_metrics
from tanet.train.state import Options, Training
from tanet.train.trackers import TRACKERS, TrackedRun

LOG_STEPS = 20  # optimiser steps between two lines of metrics.jsonl


def launch(
    recipe: Recipe,
    data_root: str | os.PathLike,
    run_dir: str | os.PathLike,
    gpus: int = 0,
    processes: int = 1,
    nodes: int = 1,
    rendezvous: str = "",
    **options,
) -> list[dict]:
    """`fit` on `gpus` GPUs of this machine, or in `processes` CPU processes with gpus=0; `options` go to `fit`.

    For notebooks and scripts. In JupyterLab it shows the progress and curves of metrics.jsonl. With several `nodes`, it
    is called on each of them, and they meet at `rendezvous`, "HOST:PORT" of one of them. Returns the run's metrics, one
    dict an epoch.
    """
    run_dir = user_path(run_dir)
    with live.view(run_dir, recipe) as is_shown:
        options.setdefault("quiet", is_shown)
        function = partial(fit, use_gpu=gpus > 0, **options)
        return launch_processes(
            function, (recipe, data_root, run_dir), gpus=gpus, processes=processes, nodes=nodes, rendezvous=rendezvous
        )


def fit(
    recipe: Recipe, data_root: str | os.PathLike, run_dir: str | os.PathLike, use_gpu: bool = False, **options
) -> list[dict]:
    """Trains `recipe` on the data below `data_root` into `run_dir`; returns the rows of epochs in metrics.jsonl.

    `options`: see tanet.train.Options. Under torchrun every process calls it. A checkpoint is written after every epoch
    and every `save_minutes`. On SIGINT (a notebook's interrupt) and SIGTERM it saves the run and raises Stopped.

    Everything that can be checked is checked before the first step: the recipe, lists, files, GPUs, and that `run_dir`
    holds no other run.
    """
    run_dir, options = user_path(run_dir), Options(**options)
    with process_group(use_gpu, recipe.workers) as process, deterministic(recipe.deterministic):
        state.check_device(recipe, process)
        if recipe.num_classes == 0:
            recipe = recipe.with_changes({"num_classes": len(class_names_at(recipe.dataset, data_root))})
        asked, recipe = recipe, run_folder.check(run_dir, recipe, options.resume)
        if recipe != asked and process.is_main:
            announce_kept(run_dir, recipe, asked)
        train_videos = load_list(recipe, data_root, "train", options.missing, options.train_list)
        val_videos = load_list(recipe, data_root, "val", options.missing, options.val_list)
        if train_videos.class_names != val_videos.class_names:
            raise ValueError(f"{data_root}: train and val lists disagree on the classes")
        # A function of its own: when it returns, the distributed network is freed. The process group must outlive the
        # network, or its destruction can deadlock.
        return _run(recipe, train_videos, val_videos, run_dir, process, options)


def _run(
    recipe: Recipe, train_videos: VideoList, val_videos: VideoList, run_dir: Path, process: Process, options: Options
) -> list[dict]:
    with ExitStack() as contexts:  # the lock of the folder, and the trackers
        # Nothing is written before everything is checked. So a new folder is made and locked later.
        is_new = not exists(run_dir)
        if process.is_main and not is_new:
            contexts.enter_context(run_folder.locked(run_dir))
        process.gather(None)  # no process reads the folder before it is locked
        stored, warning = run_folder.newest(run_dir)
        data = run_folder.describe_lists(train_videos, val_videos)
        if stored is not None:
            run_folder.check_data(stored, data)
        train_loader, val_loader = _loaders(recipe, train_videos, val_videos, process)
        training = state.begin(recipe, train_videos.class_names, data, run_dir, process, stored, options)
        if process.is_main:
            if is_new:
                run_dir.mkdir(parents=True)  # an error if another training has made it since the check
                contexts.enter_context(run_folder.locked(run_dir))
            run_folder.prepare(run_dir, recipe, train_videos.missing + val_videos.missing, stored)
            run = TrackedRun(run_dir, recipe, len(train_videos), read_metrics(run_dir, steps=None))
            for tracker in options.trackers:
                made = TRACKERS[tracker](run) if isinstance(tracker, str) else tracker(run)
                training.trackers.append(contexts.enter_context(closing(made)))
            announce(training, stored, warning, train_videos, val_videos)
        process.gather(None)  # no process goes on before the folder is prepared
        training.skips.begin()
        with interrupts(process, 60 * options.save_minutes) as stop:
            while training.epoch < recipe.epochs:
                _run_epoch(training, train_loader, val_loader, stop)
    return training.history


def _loaders(
    recipe: Recipe, train_videos: VideoList, val_videos: VideoList, process: Process
) -> tuple[DataLoader, DataLoader]:
    """This rank's share of the training clips and of the validation clips."""
    rank, world_size, use_gpu = process.rank, process.world_size, process.device.type == "cuda"
    return (
        training_loader(train_videos, recipe, rank=rank, world_size=world_size, use_gpu=use_gpu),
        validation_loader(val_videos, recipe, rank=rank, world_size=world_size, use_gpu=use_gpu),
    )


def _run_epoch(training: Training, train_loader: DataLoader, val_loader: DataLoader, stop: Interrupts) -> None:
    """Trains and validates one epoch, saves it, and adds its row to metrics.jsonl."""
    number = training.epoch + 1
    train_metrics = train_epoch(training, train_loader, stop)
    # Ranks have seen different clips, so their running statistics differ, unless each step has averaged them. Rank 0's
    # are validated and saved.
    training.process.share_buffers(training.model)

    def after_batch(unreadable: list[Unreadable]) -> None:
        training.skips.add(unreadable)
        if stop.signal:  # train_epoch has saved the epoch's training
            raise stopped(training, stop.signal)

    label = f"epoch {number}/{training.recipe.epochs}, validation"
    precision, quiet = training.numerics["precision"], not training.prints
    val_metrics = validate(training.tested, val_loader, training.process, precision, label, after_batch, quiet)
    row = {
        "epoch": number,
        "clips": training.clips,
        "progress": float(number),
        **train_metrics,
        **val_metrics,
        "val_skipped": training.list_skips("val", val_loader.dataset.videos),
        "peak_memory_mib": peak_memory_mib(training.process.device),
    }
    training.history.append(row)
    best_top1 = max(past["val_top1"] for past in training.history)
    state.save(training, best=row["val_top1"] >= best_top1)
    if training.process.is_main:
        training.record(row)
    if training.prints:
        _print_epoch(row, training.recipe)
    training.next_epoch()


def train_epoch(training: Training, loader: DataLoader, stop: Interrupts) -> dict:
    """Trains on the clips that are left of the epoch; returns the metrics of the whole epoch's training."""
    recipe, videos, sampler = training.recipe, loader.dataset.videos, loader.batch_sampler
    training.network.train()
    freeze_stages(training.model, recipe.frozen_stages)
    sampler.epoch, sampler.start = training.epoch, training.clips
    steps, timer, finite = sampler.steps, StepTimer(), FiniteCheck(videos, training.run_dir)
    label = f"epoch {training.epoch + 1}/{recipe.epochs}, training batches"
    batches = iter(track(loader, len(sampler), label, quiet=not training.prints))
    with explain_worker_failure(loader):
        for _ in range(steps):
            step_batches = timer.wait(lambda: [next(batches) for _ in range(recipe.accumulation)])
            rate = _set_rate(training, sampler)
            _seed_step(training)
            _step(training, step_batches, finite)
            training.clips += sampler.step_clips
            timer.clips += sampler.step_clips
            if training.clips // sampler.step_clips % LOG_STEPS == 0:
                training.list_skips("train", videos)
                _log_step(training, rate, _progress(training, training.clips, sampler), timer)
            save_is_due, stop_signal = stop.after_step()
            if save_is_due or stop_signal:
                finite.check()
                training.list_skips("train", videos)
                state.save(training)
                stop.saved()
            if stop_signal:
                raise stopped(training, stop_signal)
        for _ in batches:  # there are none left; this closes the progress bar
            pass
    finite.check()
    stop.finish()
    skipped = training.list_skips("train", videos)
    if steps:
        state.save(training)  # now, because validation takes long
    sums = torch.stack(training.process.gather(training.sums[0].cpu())).sum(0)  # [ranks, 5] -> [5]
    last_progress = _progress(training, training.clips - sampler.step_clips, sampler)
    last_rate = learning_rate(recipe, last_progress, sampler.step_clips)
    return {**_means(sums), "lr": last_rate, **timer.speeds(), "skipped": skipped}


def _step(training: Training, batches: list[tuple], finite: FiniteCheck) -> None:
    """One step of the optimiser, from one batch or, with accumulation, from several.

    A batch: clips uint8 [N, T, 3, S, S], labels [N], indices of the videos [N], and a list of unreadable videos.
    """
    for clips, _, _, unreadable in batches:
        training.skips.add(unreadable)
        if clips is None:
            raise empty_batch(unreadable)
    training.optimizer.zero_grad(set_to_none=True)
    precision = training.numerics["precision"]
    loss_sum, correct = compute_gradients(
        training.network, batches, precision, training.process, training.graphs, training.recipe.label_smoothing
    )
    count = sum(len(labels) for _, labels, _, _ in batches)
    # [], the norm before clipping
    grad_norm = nn.utils.clip_grad_norm_(training.network.parameters(), training.recipe.clip_grad_norm)
    finite.check()  # of the step before
    indices = torch.cat([indices for _, _, indices, _ in batches])
    name = f"epoch {training.epoch + 1}, after {training.clips} of its clips"
    finite.submit(loss_sum / count, grad_norm, indices, name)
    training.optimizer.step()
    if training.recipe.batchnorm_statistics == "mean":
        # Running statistics are linear in those of the batches. So the mean after each step is the published mean after
        # the epoch, and a checkpoint within the epoch needs no statistics of each rank.
        training.process.average(training.running_statistics)
    if training.ema is not None:
        training.ema.update_parameters(training.model)
    one = torch.ones_like(loss_sum)  # [] float64, as the sums
    # state.SUMS [5], added to both rows of sums [2, 5].
    training.sums += torch.stack([loss_sum, correct, count * one, grad_norm.double(), one])


def _set_rate(training: Training, sampler: EpochBatches) -> float:
    """Sets the optimiser's learning rates for the next step; returns the rate before the groups' multipliers."""
    rate = learning_rate(training.recipe, _progress(training, training.clips, sampler), sampler.step_clips)
    for group in training.optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
    return rate


def _progress(training: Training, clips: int, sampler: EpochBatches) -> float:
    """Epochs done, with a fraction for the current one. It counts clips, so the size of a step does not matter."""
    return training.epoch + clips / sampler.num_samples


def _seed_step(training: Training) -> None:
    """Seeds dropout from the position in the run alone, so that a resumed run needs no stored random state."""
    key = (training.recipe.seed, training.epoch, training.clips, training.process.rank)
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))


def _means(sums: torch.Tensor) -> dict:
    """state.SUMS [5] -> mean loss and top-1 of the clips, mean gradient norm of the steps."""
    loss, correct, clips, grad_norm, steps = sums.tolist()
    return {"loss": loss / clips, "top1": 100 * correct / clips, "grad_norm": grad_norm / steps}


def _log_step(training: Training, rate: float, progress: float, timer: StepTimer) -> None:
    """Adds a line for the clips since the last one to metrics.jsonl; all processes call it."""
    sums = torch.stack(training.process.gather(training.sums[1].cpu())).sum(0)  # [ranks, 5] -> [5]
    training.sums[1] = 0
    if training.process.is_main:
        row = {"epoch": training.epoch + 1, "clips": training.clips, "progress": progress, "step": True}
        row |= {**_means(sums), "lr": rate, **timer.speeds()}
        row["peak_memory_mib"] = peak_memory_mib(training.process.device)
        training.record(row)


def _print_epoch(row: dict, recipe: Recipe) -> None:
    """Prints the row of an epoch in one line."""
    print(
        f"epoch {row['epoch']}/{recipe.epochs}: loss {row['loss']:.3f}, top-1 {row['top1']:.1f}%, "
        f"validation top-1 {row['val_top1']:.1f}%, {row['clips_per_second']:.0f} clips/s",
        flush=True,
    )

"""Training: `fit` in one process, `launch` or torchrun for several, `python -m tanet.train` from a shell.

A run is a folder, see tanet.train.run_folder. `fit` on a folder that holds a part of the run goes on from its newest checkpoint, in
the middle of an epoch if need be, and computes what the undisturbed run would have computed.
"""

import os
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tanet.checkpoint import Checkpoint
from tanet.data import (
    EpochBatches,
    Sample,
    Unreadable,
    VideoList,
    describe_readers,
    explain_worker_failure,
    load_list,
    training_loader,
    validation_loader,
)
from tanet.errors import Stopped, VideoError
from tanet.evaluate import validate
from tanet.recipes import Recipe
from tanet.runtime import Process, autocast, deterministic, process_group, to_device, track
from tanet.runtime import launch as launch_processes
from tanet.train import live, run_folder, state
from tanet.train.interrupts import Interrupts, interrupts
from tanet.train.monitor import FiniteCheck, ScalarWriter, StepTimer, peak_memory_mib, require_tensorboard
from tanet.train.optim import learning_rate
from tanet.train.run_folder import read_metrics
from tanet.train.state import Options, Training

LOG_STEPS = 20  # steps of the optimiser between the lines of metrics.jsonl


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

    For notebooks and scripts; in JupyterLab it draws what metrics.jsonl says while it goes on. With `nodes` machines each
    calls it, and they meet at `rendezvous`, "HOST:PORT" of one of them. Returns the run's metrics, one dict an epoch.
    """
    with live.shown(run_dir, recipe) as shown:
        function = partial(fit, use_gpu=gpus > 0, **{"quiet": shown} | options)
        return launch_processes(function, (recipe, data_root, run_dir), gpus, processes, nodes, rendezvous)


def fit(
    recipe: Recipe, data_root: str | os.PathLike, run_dir: str | os.PathLike, use_gpu: bool = False, **options
) -> list[dict]:
    """Trains `recipe` on the data below `data_root` into `run_dir`; returns metrics.jsonl's rows of the epochs.

    `options`: see tanet.train.Options. Under torchrun every process calls it. A checkpoint is written after every epoch
    and every `save_minutes`. On SIGINT (a notebook's interrupt) and SIGTERM the run is saved and Stopped raised.

    Everything that can be checked is checked before the first step: recipe, lists, files, GPUs, and that `run_dir` holds
    no other run.
    """
    run_dir, options = Path(run_dir), Options(**options)
    if options.tensorboard:
        require_tensorboard()
    with process_group(use_gpu, recipe.workers) as process, deterministic(recipe.deterministic):
        train_videos = load_list(recipe, data_root, "train", options.missing, options.train_list)
        val_videos = load_list(recipe, data_root, "val", options.missing, options.val_list)
        if train_videos.class_names != val_videos.class_names:
            raise ValueError(f"{data_root}: train and val lists disagree on the classes")
        run_folder.check(run_dir, recipe, options.resume)
        # In a function of its own, so that the distributed network is gone before the group it talks through: the other
        # order can deadlock.
        return _run(recipe, train_videos, val_videos, run_dir, process, options)


def _run(
    recipe: Recipe, train_videos: VideoList, val_videos: VideoList, run_dir: Path, process: Process, options: Options
) -> list[dict]:
    with ExitStack() as held:
        # Nothing is written before all has been checked, not even a folder.
        if process.is_main and run_dir.exists():
            held.enter_context(run_folder.locked(run_dir))
        process.gather(None)
        stored, warning = run_folder.newest(run_dir)
        data = run_folder.describe_lists(train_videos, val_videos)
        if stored is not None:
            run_folder.check_data(stored, data)
        place = process.rank, process.world_size, process.device.type == "cuda"
        train_loader = training_loader(train_videos, recipe, *place)
        val_loader = validation_loader(val_videos, recipe, *place)
        training = state.begin(recipe, train_videos.class_names, data, run_dir, process, stored, options)
        if process.is_main:
            is_new = not run_dir.exists()
            run_folder.prepare(run_dir, recipe, train_videos.missing + val_videos.missing, stored)
            if is_new:
                held.enter_context(run_folder.locked(run_dir))
            if options.tensorboard:
                rows = read_metrics(run_dir, steps=None)
                training.writer = held.enter_context(ScalarWriter(run_dir, len(train_videos), rows))
            _announce(training, stored, warning, train_videos.samples + val_videos.samples)
        process.gather(None)  # the folder is there
        training.skips.begin()
        with interrupts(process, 60 * options.save_minutes) as stop:
            while training.epoch < recipe.epochs:
                _run_epoch(training, train_loader, val_loader, stop)
    return training.history


def _run_epoch(training: Training, train_loader, val_loader, stop: Interrupts) -> None:
    row = {"epoch": training.epoch + 1, "clips": None, "progress": float(training.epoch + 1)}
    row |= train_epoch(training, train_loader, stop)
    row["clips"] = training.clips
    # Each process has seen other clips, and has running statistics of its own.
    training.process.share_buffers(training.model)

    def after_batch(unreadable: list[Unreadable]) -> None:
        training.skips.add(unreadable)
        if stop.asked:  # the epoch's training is saved already
            raise _stopped(training, stop.asked)

    label = f"epoch {row['epoch']}/{training.recipe.epochs}, validation"
    precision = training.numerics["precision"]
    row |= validate(training.tested, val_loader, training.process, precision, label, after_batch, not training.prints)
    row["val_skipped"] = training.list_skips("val", val_loader.dataset.videos)
    row["peak_memory_mib"] = peak_memory_mib(training.process.device)
    training.history.append(row)
    state.save(training, best=row["val_top1"] >= max(past["val_top1"] for past in training.history))
    if training.process.is_main:
        training.record(row)
    if training.prints:
        _print_epoch(row, training.recipe)
    training.next_epoch()


def _announce(training: Training, stored: Checkpoint | None, warning: str, samples: tuple[Sample, ...]) -> None:
    if warning:
        print(warning, flush=True)
    if training.recipe.dataset != "something_v1":  # which comes in frames
        print(describe_readers(sample.probe for sample in samples), flush=True)
    if stored is None:
        return
    middle = f", and {training.clips} clips of the next" if training.clips else ""
    done = f"{len(training.history)} of {training.recipe.epochs} epochs are done{middle}"
    before, now = len(stored.rest["sums"]), training.process.world_size
    if before != now:
        done += (
            f". {before} process(es) made it, {now} go on from the same clip: the batch of a step is {now}/{before} of what it "
            "was, the rate follows it, and the result will differ from that of an undisturbed run"
        )
    print(f"run {training.run_dir.name}: {done}", flush=True)


def train_epoch(training: Training, loader, stop: Interrupts) -> dict:
    """What is left of the epoch's pass over the training clips -> what metrics.jsonl says of the whole of it."""
    recipe, videos, batches = training.recipe, loader.dataset.videos, loader.batch_sampler
    training.network.train()
    batches.epoch, batches.start = training.epoch, training.clips
    steps, clock, finite = batches.steps, StepTimer(), FiniteCheck(videos, training.run_dir)
    label = f"epoch {training.epoch + 1}/{recipe.epochs}, training batches"
    loaded = iter(track(loader, len(batches), label, quiet=not training.prints))
    with explain_worker_failure(loader):
        for _ in range(steps):
            parts = clock.wait(lambda: [next(loaded) for _ in range(recipe.accumulation)])
            rate = _set_rate(training, batches)
            _seed_step(training)
            _step(training, parts, finite)
            training.clips += batches.step_clips
            clock.clips += batches.step_clips
            if training.clips // batches.step_clips % LOG_STEPS == 0:
                training.list_skips("train", videos)
                _log_step(training, rate, _progress(training, training.clips, batches), clock)
            due, asked = stop.step()
            if due or asked:
                finite.check()
                training.list_skips("train", videos)
                state.save(training)
                stop.saved()
            if asked:
                raise _stopped(training, asked)
        for _ in loaded:  # lets the bar close
            pass
    finite.check()
    stop.finish()
    skipped = training.list_skips("train", videos)
    if steps:
        state.save(training)  # validation takes its time
    sums = torch.stack(training.process.gather(training.sums[0].cpu())).sum(0)
    last = learning_rate(recipe, _progress(training, training.clips - batches.step_clips, batches), batches.step_clips)
    return _means(sums) | {"lr": last} | clock.speeds() | {"skipped": skipped}


def _step(training: Training, parts: list, finite: FiniteCheck) -> None:
    """One step of the optimiser from one batch or, with accumulation, several."""
    device, losses, correct, count = training.process.device, [], 0, 0
    training.optimizer.zero_grad(set_to_none=True)
    for index, (clips, labels, _, unreadable) in enumerate(parts):
        training.skips.add(unreadable)
        if clips is None:
            raise VideoError(
                f"{unreadable[0].reason}; nor can any other video of its batch, of {len(unreadable)}, be read: leave them out of the "
                f"list, or use larger batches. They are {', '.join(bad.reason.partition(': ')[0] for bad in unreadable)}"
            )
        clips, labels = to_device(device, clips, labels)
        # Gradients are exchanged once, with the last batch.
        exchange = index == len(parts) - 1 or training.process.world_size == 1
        with nullcontext() if exchange else training.network.no_sync():
            with autocast(device, training.numerics["precision"]):
                logits = training.network(clips)
            loss = nn.functional.cross_entropy(logits.float(), labels)
            (loss / len(parts)).backward()
        losses.append(loss.detach().double() * len(labels))
        correct, count = correct + (logits.argmax(1) == labels).sum(), count + len(labels)
    grad_norm = nn.utils.clip_grad_norm_(training.network.parameters(), training.recipe.clip_grad_norm)
    finite.check()
    indices = torch.cat([part[2] for part in parts])
    name = f"epoch {training.epoch + 1}, after {training.clips} of its clips"
    finite.submit(torch.stack(losses).sum() / count, grad_norm, indices, name)
    training.optimizer.step()
    if training.ema is not None:
        training.ema.update_parameters(training.model)
    ones = torch.ones((), dtype=torch.float64, device=device)
    training.sums += torch.stack([torch.stack(losses).sum(), correct.double(), count * ones, grad_norm.double(), ones])


def _set_rate(training: Training, batches: EpochBatches) -> float:
    rate = learning_rate(training.recipe, _progress(training, training.clips, batches), batches.step_clips)
    for group in training.optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
    return rate


def _progress(training: Training, clips: int, batches: EpochBatches) -> float:
    """Epochs done, as a fraction too: by clips, so that it does not depend on how they are cut into steps."""
    return training.epoch + clips / batches.num_samples


def _seed_step(training: Training) -> None:
    """Dropout, too, depends on (seed, epoch, clips before, process) alone, so that nothing of the past needs keeping."""
    place = (training.recipe.seed, training.epoch, training.clips, training.process.rank)
    torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]))


def _means(sums: torch.Tensor) -> dict:
    loss, correct, clips, grad_norm, steps = sums.tolist()
    return {"loss": loss / clips, "top1": 100 * correct / clips, "grad_norm": grad_norm / steps}


def _log_step(training: Training, rate: float, progress: float, clock: StepTimer) -> None:
    sums = torch.stack(training.process.gather(training.sums[1].cpu())).sum(0)
    training.sums[1] = 0
    if training.process.is_main:
        place = {"epoch": training.epoch + 1, "clips": training.clips, "progress": progress, "step": True}
        row = place | _means(sums) | {"lr": rate} | clock.speeds()
        training.record(row | {"peak_memory_mib": peak_memory_mib(training.process.device)})


def _stopped(training: Training, asked: int) -> Stopped:
    return Stopped(
        f"stopped in epoch {training.epoch + 1} of {training.recipe.epochs}, after {training.clips} of its clips; saved in "
        f"{training.run_dir}, and the same call goes on from there",
        asked,
    )


def _print_epoch(row: dict, recipe: Recipe) -> None:
    print(
        f"epoch {row['epoch']}/{recipe.epochs}: loss {row['loss']:.3f}, top-1 {row['top1']:.1f}%, "
        f"validation top-1 {row['val_top1']:.1f}%, {row['clips_per_second']:.0f} clips/s",
        flush=True,
    )

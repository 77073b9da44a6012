"""Signals and kills at a chosen moment of a training, so that no test waits for one to fall there by chance."""

import io
import os
import signal

import torch

from tanet.train import loop, run_folder


def stop_after(monkeypatch, steps, number=signal.SIGINT):
    """A signal comes to this process during this step of its training, counted from 1."""
    original, done = loop._step, []

    def step(*arguments):
        done.append(1)
        if len(done) == steps:
            os.kill(os.getpid(), number)
        return original(*arguments)

    monkeypatch.setattr(loop, "_step", step)


def die():
    """Ends this process as a power cut does: nothing after this line runs."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_before(module, name, when=lambda *arguments: True, call=1):
    """This process dies when it calls `module.name`; only calls for which `when` holds count, from 1."""
    original, calls = getattr(module, name), []

    def function(*arguments, **options):
        if when(*arguments):
            calls.append(1)
            if len(calls) == call:
                die()
        return original(*arguments, **options)

    setattr(module, name, function)


def die_after(module, name, when=lambda *arguments: True, call=1):
    """This process dies when a call of `module.name` has returned; calls count as in `die_before`."""
    original, calls = getattr(module, name), []

    def function(*arguments, **options):
        result = original(*arguments, **options)
        if when(*arguments):
            calls.append(1)
            if len(calls) == call:
                die()
        return result

    setattr(module, name, function)


def die_writing(name, call=1):
    """This process dies when half of a checkpoint file of this name is on the disk; writes count from 1."""
    original, calls = torch.save, []

    def save(state, file, **options):
        if name in str(getattr(file, "name", "")):
            calls.append(1)
        if len(calls) < call:
            original(state, file, **options)
            return
        content = io.BytesIO()
        original(state, content, **options)
        file.write(content.getvalue()[: content.tell() // 2])
        file.flush()
        die()

    torch.save = save


def die_renaming(name, done, call=1):
    """This process dies just before, or with `done` just after, a file is renamed to this name."""
    hook = die_after if done else die_before
    hook(os, "replace", when=lambda source, target: os.path.basename(target) == name, call=call)


def die_in_step(call=1):
    """This process dies when it begins this step of its training, counted from 1."""
    die_before(loop, "_step", call=call)


def die_in_validation():
    """This process dies when it begins to validate."""
    die_before(loop, "validate")


def die_writing_a_row(of_epoch):
    """This process dies when half of a line of metrics.jsonl is on the disk: of an epoch's line, or of a step's."""
    original = run_folder.append_metrics

    def append(run_dir, row):
        if of_epoch == ("step" in row):
            original(run_dir, row)
            return
        path = run_dir / run_folder.METRICS
        before = path.read_text() if path.exists() else ""
        original(run_dir, row)
        written = path.read_text()
        path.write_text(written[: (len(before) + len(written)) // 2])
        die()

    run_folder.append_metrics = append

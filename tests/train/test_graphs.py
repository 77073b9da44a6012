"""Training steps as CUDA graphs compute the bits of eager steps. On CPUs a stand-in for the capture shows the same."""

import gc
import math
import os
from pathlib import Path

import pytest
import torch
from support.graphs import FakeCapture
from support.signals import stop_after

from tanet import checkpoint, train
from tanet.data import Sample, Unreadable, VideoList, load_list
from tanet.errors import Stopped
from tanet.runtime import WARM_UP, Process, deterministic, launch, process_group
from tanet.train import FiniteCheck, autotune, graphs, loop, state

# cuBLAS is deterministic only if this is set before the first product of matrices in this process.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
SPEED = {"clips_per_second", "data_wait", "peak_memory_mib"}  # what differs from run to run
STEPS = {CPU: 7, GPU: 20}  # with 3 of warm-up
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
ON_DEVICES = pytest.mark.parametrize("device", [CPU, pytest.param(GPU, marks=needs_gpu)], ids=["cpu", "cuda"])
KINDS = {
    "plain": {},
    "accumulated": {"accumulation": 3},
    "dropout": {"dropout": 0.5},
    "accumulated dropout": {"accumulation": 2, "dropout": 0.5},
    "averaged weights": {"ema": 0.9},
    "recomputed activations": {"checkpoint_activations": True, "dropout": 0.5},
    "channels last": {"memory_format": "channels_last"},
}


@pytest.fixture
def recipe(kinetics_recipe):
    """Small clips; three of them a batch."""
    small = {"short_side": 36, "crop_size": 32, "test_size": 32, "memory_format": "contiguous", "warmup_epochs": 0.0}
    return kinetics_recipe.with_changes({**small, "clips_per_process": 3, "deterministic": True})


@pytest.fixture
def fake(monkeypatch):
    """Installs a FakeCapture, and lets trainings on a CPU have graphs."""

    def install(device, **options):
        if device == GPU:
            return None
        capture = FakeCapture(**options)
        monkeypatch.setattr(graphs, "memory_beside", lambda size, device: size)
        monkeypatch.setattr(graphs, "capture", capture)
        for module in (autotune, state):
            monkeypatch.setattr(module, "choose_graphs", chosen)
        return capture

    return install


def chosen(recipe, process) -> str:
    return "off" if recipe.cuda_graphs == "off" else "on"


def random_steps(recipe, device, odd=()) -> list[list[tuple]]:
    """Steps of random batches; those in `odd` miss a clip of their last batch."""
    generator, steps = torch.Generator().manual_seed(0), []
    for number in range(STEPS[device]):
        batches = []
        for batch in range(recipe.accumulation):
            is_odd = number in odd and batch == recipe.accumulation - 1
            count = recipe.clips_per_process - is_odd
            shape = count, recipe.num_frames, 3, recipe.crop_size, recipe.crop_size
            clips = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
            labels = torch.randint(0, recipe.num_classes, (count,), generator=generator)
            missing = [Unreadable(0, "cut.mp4: cut")] if is_odd else []
            batches.append((clips, labels, torch.arange(count), missing))
        steps.append(batches)
    return steps


VIDEOS = VideoList(tuple(Sample(Path(f"{label}.mp4"), label) for label in range(8)), tuple("abcdefgh"))


def trained(recipe, device, run_dir, steps, cuda_graphs="on", before_step=lambda training, number: None):
    """A training after these steps, at a rate of 0.05."""
    recipe = recipe.with_changes({"cuda_graphs": cuda_graphs})
    options = state.Options(on_error="skip")
    with deterministic(recipe.deterministic):
        training = state.begin(recipe, VIDEOS.class_names, {}, run_dir, Process(0, 1, device), None, options)
        training.network.train()
        finite = FiniteCheck(VIDEOS, run_dir)
        for group in training.optimizer.param_groups:
            group["lr"] = 0.05
        for number, batches in enumerate(steps):
            before_step(training, number)
            loop._seed_step(training)
            loop._step(training, batches, finite)
            training.clips += len(batches) * recipe.clips_per_process
        finite.check()
    return training


def computed(training) -> dict[str, torch.Tensor]:
    """All that a training has computed."""
    values = dict(training.model.state_dict())
    if training.ema is not None:
        values |= {f"averaged {name}": value for name, value in training.ema.module.state_dict().items()}
    momenta = training.optimizer.state_dict()["state"]
    values |= {f"momentum {index}": kept["momentum_buffer"] for index, kept in momenta.items()}
    return {**values, "sums": training.sums}


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, f"{len(different)} of {len(one)} differ: {different[:5]}"


@ON_DEVICES
@pytest.mark.parametrize("odd", [(), (1, 5)], ids=["", "with unreadable videos"])
@pytest.mark.parametrize("kind", KINDS)
def test_graphs_compute_the_bits_of_eager_steps(tmp_path, fake, recipe, device, kind, odd):
    recipe = recipe.with_changes(KINDS[kind])
    steps = random_steps(recipe, device, odd)
    eager = computed(trained(recipe, device, tmp_path, steps, "off"))
    if device == GPU:
        assert_same_bits(eager, computed(trained(recipe, device, tmp_path, steps, "off")))
    capture = fake(device)
    training = trained(recipe, device, tmp_path, steps)
    assert training.graphs.works and training.numerics["cuda_graphs"] == "on"
    assert_same_bits(eager, computed(training))
    if capture:
        assert capture.captures == min(recipe.accumulation, 2)
        assert capture.replays == (STEPS[device] - WARM_UP - len(odd)) * recipe.accumulation


@ON_DEVICES
def test_where_memory_is_short_a_step_without_graphs_gets_theirs(tmp_path, monkeypatch, fake, recipe, device):
    """The graphs are captured again at the next step."""
    recipe = recipe.with_changes({"accumulation": 2, "dropout": 0.5})
    steps = random_steps(recipe, device, odd=(4,))
    eager = computed(trained(recipe, device, tmp_path, steps, "off"))
    fake(device)
    original, made = graphs.capture, []

    def capture(*arguments):
        made.append(1)
        return original(*arguments)

    monkeypatch.setattr(graphs, "capture", capture)
    monkeypatch.setattr(graphs, "memory_beside", lambda size, device: -1)
    training = trained(recipe, device, tmp_path, steps)
    assert training.graphs.works and len(made) == 4
    assert_same_bits(eager, computed(training))


@ON_DEVICES
def test_a_graph_sees_weights_and_buffers_that_are_loaded_in_place(tmp_path, fake, recipe, device):
    """As a checkpoint is, and as rank 0's running statistics are."""

    def load(training, number):
        if number == 5:
            values = {name: value.clone() * 0.9 for name, value in training.model.state_dict().items()}
            training.model.load_state_dict(values)

    steps = random_steps(recipe, device)
    eager = computed(trained(recipe, device, tmp_path, steps, "off", load))
    fake(device)
    assert_same_bits(eager, computed(trained(recipe, device, tmp_path, steps, "on", load)))


@ON_DEVICES
def test_an_evaluation_between_steps_does_not_disturb_the_graph(tmp_path, fake, recipe, device):
    clips = random_steps(recipe, device)[0][0][0].to(device)

    @torch.no_grad()
    def evaluate(training, number):
        if number % 3 == 2:
            training.model.eval()
            logits.append([training.model(clips), training.model(clips[:2])])
            training.network.train()

    steps, logits = random_steps(recipe, device), []
    eager = computed(trained(recipe, device, tmp_path, steps, "off", evaluate))
    eager_logits, logits = logits, []
    fake(device)
    assert_same_bits(eager, computed(trained(recipe, device, tmp_path, steps, "on", evaluate)))
    for row, wanted in zip(logits, eager_logits, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(row, wanted))


@pytest.mark.parametrize("broken", [1, 2])
def test_where_a_capture_fails_a_line_says_so_and_the_same_step_goes_on_without(tmp_path, capsys, fake, recipe, broken):
    recipe = recipe.with_changes({"accumulation": 3, "dropout": 0.5})
    steps = random_steps(recipe, CPU)
    eager = computed(trained(recipe, CPU, tmp_path, steps, "off"))
    capture = fake(CPU, broken=(broken,))
    training = trained(recipe, CPU, tmp_path, steps)
    assert_same_bits(eager, computed(training))
    assert capture.captures == broken and training.numerics["cuda_graphs"] == "off"
    said = [line for line in capsys.readouterr().out.splitlines() if "graph" in line]
    reason = "operation not permitted when stream is capturing"
    assert said == [f"CUDA graphs fail here, training goes without them: {reason}"]


def active_memory() -> int:
    """Bytes that tensors occupy, or that await the end of work on them."""
    gc.collect()
    torch.cuda.synchronize()
    torch.empty(1, device="cuda")  # the allocator looks for what has ended
    return torch.cuda.memory_stats()["active_bytes.all.current"]


@needs_gpu
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_network_that_waits_for_the_gpu_trains_without_graphs(tmp_path, capsys, recipe, accumulation):
    """The capture fails, and after it dropout, memory and new captures are as if it had not been."""
    recipe = recipe.with_changes({"dropout": 0.5, "accumulation": accumulation})
    steps = random_steps(recipe, GPU)

    def wait(module, inputs):
        if module.training:
            inputs[0].float().sum().item()

    def with_wait(training, number):
        if number == 0:
            training.model.layer2.register_forward_pre_hook(wait)

    eager = computed(trained(recipe, GPU, tmp_path, steps, "off", with_wait))
    training = trained(recipe, GPU, tmp_path, steps, "on", with_wait)
    assert_same_bits(eager, computed(training))
    assert not training.graphs.works and training.numerics["cuda_graphs"] == "off"
    assert capsys.readouterr().out.count("training goes without them") == 1
    assert torch.cuda.current_stream() == torch.cuda.default_stream()

    taken = []  # memory before each of further steps: the copies of their batches are freed
    more = trained(recipe, GPU, tmp_path, steps, "off", lambda *_: taken.append(active_memory()))
    assert taken[-1] == taken[3]
    again = trained(recipe, GPU, tmp_path, steps)
    assert again.graphs.works
    assert_same_bits(computed(more), computed(again))


@needs_gpu
@pytest.mark.parametrize("changes", [{}, {"accumulation": 2, "dropout": 0.5}], ids=["plain", "accumulated"])
def test_graphs_in_bfloat16_with_the_fastest_algorithms_train_alike(tmp_path, recipe, changes):
    fast = {"deterministic": False, "precision": "bfloat16", "memory_format": "channels_last", "compile": "off"}
    recipe = recipe.with_changes({**changes, **fast})
    steps = random_steps(recipe, GPU)[: WARM_UP + 3]  # further ones would multiply the rounding
    eager = computed(trained(recipe, GPU, tmp_path, steps, "off"))
    training = trained(recipe, GPU, tmp_path, steps)
    assert training.graphs.works
    found = computed(training)
    for name in ("fc.weight", "layer4.0.conv3.weight", "layer4.0.bn3.running_var"):
        torch.testing.assert_close(found[name], eager[name], rtol=0.05, atol=0.02)
    torch.testing.assert_close(found["sums"][:, :3], eager["sums"][:, :3], rtol=0.05, atol=1.5)


@needs_gpu
@pytest.mark.slow
def test_a_compiled_network_is_captured(tmp_path, recipe):
    recipe = recipe.with_changes({"compile": "on", "dropout": 0.5})
    steps = random_steps(recipe, GPU)
    eager = computed(trained(recipe, GPU, tmp_path, steps, "off"))
    torch.compiler.reset()
    training = trained(recipe, GPU, tmp_path, steps)
    assert training.graphs.works
    assert_same_bits(eager, computed(training))


@needs_gpu
def test_trial_steps_are_graphs_too(tmp_path, capsys, recipe):
    auto = {"deterministic": False, "precision": "auto", "memory_format": "auto", "compile": "off"}
    training = trained(recipe.with_changes(auto), GPU, tmp_path, random_steps(recipe, GPU), "auto")
    assert training.graphs.works
    assert "as CUDA graphs" in capsys.readouterr().out


@needs_gpu
def test_processes_average_their_gradients_after_a_replay(tmp_path, recipe):
    """A process of two, alone in its group: averaging halves its gradients."""
    recipe = recipe.with_changes({"memory_format": "channels_last"})
    steps = random_steps(recipe, GPU)
    training = trained(recipe, GPU, tmp_path, steps)
    wanted = [parameter.grad.clone() / 2 for parameter in training.graphs.parameters]
    torch.distributed.init_process_group("nccl", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        Process(0, 2, GPU).average([parameter.grad for parameter in training.graphs.parameters])
        for parameter, halved in zip(training.graphs.parameters, wanted):
            assert torch.equal(parameter.grad, halved) and parameter.grad.stride() == parameter.stride()
    finally:
        torch.distributed.destroy_process_group()


def steps_of_rank(recipe, data_root, run_dir, use_graphs) -> dict:
    """Six steps of this rank, the fifth of rank 1 with fewer clips; returns the weights as arrays."""
    with process_group(use_gpu=False) as process:
        if use_graphs:
            graphs.capture, graphs.memory_beside = FakeCapture(), lambda size, device: size
            autotune.choose_graphs = chosen
        videos = load_list(recipe, data_root, "train")
        training = state.begin(recipe, videos.class_names, {}, run_dir, process, None, state.Options(on_error="skip"))
        generator, finite = torch.Generator().manual_seed(process.rank), FiniteCheck(videos, run_dir)
        for number in range(6):
            batches = []
            for _ in range(recipe.accumulation):
                count = 2 - (number == 4 and process.rank)
                shape = count, 8, 3, recipe.crop_size, recipe.crop_size
                clips = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
                batches.append((clips, torch.arange(count), torch.arange(count), []))
            loop._seed_step(training)
            loop._step(training, batches, finite)
            training.clips += 4
        works = training.graphs.works if use_graphs else True
        weights = {name: value.numpy() for name, value in training.model.state_dict().items()}
        training.network = None  # a network that still holds the group when it is torn down can deadlock
    return {**weights, "works": works}


@pytest.mark.slow
def test_two_processes_with_graphs_make_the_steps_of_two_without(
    tmp_path, forked_workers, kinetics_root, kinetics_recipe
):
    """Also when one of them has an unreadable video: that one computes without a graph, the other with."""
    changes = {"clips_per_process": 2, "accumulation": 2, "crop_size": 32, "dropout": 0.5}
    recipe = kinetics_recipe.with_changes(changes)
    with_graphs, without = (
        launch(steps_of_rank, (recipe, kinetics_root, tmp_path / "run", use_graphs), processes=2)
        for use_graphs in (True, False)
    )
    assert with_graphs.pop("works")
    assert all((weights == without[name]).all() for name, weights in with_graphs.items())


def rows_of(run_dir):
    return [{k: v for k, v in row.items() if k not in SPEED} for row in train.read_metrics(run_dir)]


def weights_of(run_dir):
    return checkpoint.read(run_dir / "checkpoints/last.pth").weights


@ON_DEVICES
@pytest.mark.slow
@pytest.mark.parametrize("first, then", [("on", "off"), ("off", "on"), ("on", "on")])
def test_a_run_goes_on_bit_identically_with_graphs_and_without(
    tmp_path, monkeypatch, fake, kinetics_root, recipe, device, first, then
):
    """Interrupted in the middle of an epoch. There are four batches of validation clips, so the last is a replay."""
    recipe = recipe.with_changes({"clips_per_process": 1, "accumulation": 2, "dropout": 0.3, "workers": 1})
    use_gpu, undisturbed, run_dir = device == GPU, tmp_path / "undisturbed", tmp_path / "run"
    train.fit(recipe.with_changes({"cuda_graphs": "off"}), kinetics_root, undisturbed, use_gpu=use_gpu)
    fake(device)
    with pytest.raises(Stopped), monkeypatch.context() as patch:
        stop_after(patch, 10)
        train.fit(recipe.with_changes({"cuda_graphs": first}), kinetics_root, run_dir, use_gpu=use_gpu)
    train.fit(recipe.with_changes({"cuda_graphs": then}), kinetics_root, run_dir, use_gpu=use_gpu)
    assert rows_of(run_dir) == rows_of(undisturbed)
    assert_same_bits(weights_of(run_dir), weights_of(undisturbed))
    assert checkpoint.read(run_dir / "checkpoints/last.pth").rest["numerics"]["cuda_graphs"] == then


@ON_DEVICES
def test_numbers_that_are_none_are_found_one_step_later(tmp_path, fake, recipe, device):
    def spoil(training, number):
        reached.append(number)
        if number == 5:
            torch.nn.init.constant_(training.model.fc.bias, math.nan)

    fake(device)
    reached = []
    with pytest.raises(
        FloatingPointError, match="the loss is nan.*after 15 of its clips, with the videos 0.mp4, 1.mp4"
    ):
        trained(recipe, device, tmp_path, random_steps(recipe, device), before_step=spoil)
    assert reached[-1] == 6


@pytest.mark.parametrize("wanted, lines", [("auto", []), ("off", []), ("on", ["a CPU has none"])])
def test_a_cpu_trains_without_graphs(tmp_path, capsys, recipe, wanted, lines):
    training = trained(recipe, CPU, tmp_path, [], wanted)
    assert training.graphs is None and training.numerics["cuda_graphs"] == "off"
    said = [line for line in capsys.readouterr().out.splitlines() if "graph" in line]
    assert said == [f"training goes without CUDA graphs: {line}" for line in lines]


def test_where_graphs_are_used(recipe):
    def choice(wanted, world_size=1, sync_batchnorm=False):
        changed = recipe.with_changes({"cuda_graphs": wanted, "sync_batchnorm": sync_batchnorm})
        return state.choose_graphs(changed, Process(0, world_size, GPU))

    assert [choice(wanted) for wanted in ("auto", "on", "off")] == ["on", "on", "off"]
    assert [choice("auto", 2), choice("auto", 2, True), choice("auto", 1, True)] == ["on", "off", "on"]


def test_a_field_that_is_none_of_the_three_is_refused(recipe):
    with pytest.raises(ValueError, match="cuda_graphs must be 'auto', 'on' or 'off', got True"):
        recipe.with_changes({"cuda_graphs": True})

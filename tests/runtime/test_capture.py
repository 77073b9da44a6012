import copy
import warnings

import pytest
import torch
from support.graphs import fake_capture

from tanet import tanet_tiny
from tanet.runtime import WARM_UP, CapturedForward, autocast, graphs

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")


@pytest.fixture
def captures(monkeypatch, device) -> list:
    """The captures made. On a CPU by a stand-in."""
    made = []
    original = graphs.capture if device == "cuda" else fake_capture

    def capture(*arguments):
        made.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(graphs, "capture", capture)
    monkeypatch.setattr(graphs, "can_capture", lambda device: True)
    return made


@pytest.fixture
def repeatable_algorithms():
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


@pytest.fixture
def model(device, repeatable_algorithms):
    torch.manual_seed(0)
    model = tanet_tiny(8).to(device).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.1)
    return model


def clips_on(device, count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 8, 3, 32, 32), generator=generator, dtype=torch.uint8).to(device)


@torch.no_grad()
def logits_of(model, clips, precision="float32"):
    with autocast(clips.device, precision):
        return model(clips)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_captured_logits_are_the_models_and_stay(device, captures, model, precision):
    forward, batches = CapturedForward(model, precision), [clips_on(device, seed=seed) for seed in range(7)]
    logits = [forward(clips) for clips in batches]
    assert len(captures) == 1
    for clips, found in zip(batches, logits):
        assert torch.equal(found, logits_of(model, clips, precision)) and not found.requires_grad


def test_other_shapes_are_computed_without_the_graph(device, captures, model):
    forward = CapturedForward(model)
    for count in [2] * (WARM_UP + 1) + [1, 2, 3, 2] + [1] * (WARM_UP + 1):
        clips = clips_on(device, count, seed=count)
        assert torch.equal(forward(clips), logits_of(model, clips))
    assert len(captures) == 1


def test_few_calls_are_not_captured(device, captures, model):
    forward = CapturedForward(model)
    for count in [2, 1] * WARM_UP:
        forward(clips_on(device, count))
    assert not captures


def test_weights_that_change_in_place_are_seen(device, captures, model):
    forward, clips = CapturedForward(model), clips_on(device)
    before = [forward(clips) for _ in range(WARM_UP + 2)][-1]
    other = {name: value * 0.9 for name, value in model.state_dict().items()}
    model.load_state_dict(other)
    assert torch.equal(forward(clips), logits_of(model, clips)) and not torch.equal(forward(clips), before)
    assert len(captures) == 1


def test_weights_that_move_are_captured_anew(device, captures, model):
    forward, clips = CapturedForward(model), clips_on(device)
    for _ in range(WARM_UP + 2):
        forward(clips)
    model.to(memory_format=torch.channels_last)
    for _ in range(WARM_UP + 2):
        assert torch.equal(forward(clips), logits_of(model, clips))
    assert len(captures) == 2


def test_a_model_in_training_mode_is_computed_as_usual(device, captures, model):
    forward, clips = CapturedForward(model), clips_on(device)
    for _ in range(WARM_UP + 2):
        forward(clips)
    trained = copy.deepcopy(model).train()
    model.train()
    torch.manual_seed(0)
    found = forward(clips)
    torch.manual_seed(0)
    assert torch.equal(found, logits_of(trained, clips))
    assert torch.equal(model.bn1.running_mean, trained.bn1.running_mean)


def test_where_a_capture_fails_a_warning_says_so_and_calls_go_on(device, captures, monkeypatch, model):
    def fails(*_):
        raise RuntimeError("not permitted\nand much more")

    monkeypatch.setattr(graphs, "capture", fails)
    forward, clips = CapturedForward(model), clips_on(device)
    with pytest.warns(UserWarning, match="without a CUDA graph: not permitted$") as said:
        logits = [forward(clips) for _ in range(WARM_UP + 5)]
    assert len(said) == 1 and all(torch.equal(row, logits_of(model, clips)) for row in logits)


def test_a_cpu_computes_without_a_graph(monkeypatch):
    monkeypatch.setattr(graphs, "capture", None)  # a call would fail
    model, clips = tanet_tiny(8).eval(), clips_on("cpu")
    forward = CapturedForward(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(WARM_UP + 2):
            assert torch.equal(forward(clips), logits_of(model, clips))


def active_memory() -> int:
    """Bytes that tensors occupy, or that await the end of work on them."""
    torch.cuda.synchronize()
    torch.empty(1, device="cuda")  # the allocator looks for what has ended
    return torch.cuda.memory_stats()["active_bytes.all.current"]


@needs_gpu
def test_after_a_failed_capture_torch_is_as_before():
    """Its stream, dropout, memory, and the next capture."""
    device = torch.device("cuda", 0)
    torch.manual_seed(0)
    wanted = [torch.rand(3, device=device), torch.rand(3, device=device)]
    torch.manual_seed(0)
    found = [torch.rand(3, device=device)]

    def wait():
        torch.rand(3, device=device).sum().item()

    with pytest.raises(RuntimeError):
        graphs.capture(wait, device)
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    found.append(torch.rand(3, device=device))
    assert all(torch.equal(one, other) for one, other in zip(found, wanted))
    before = active_memory()
    for _ in range(5):
        used = torch.empty(2**20, device=device)
        used.record_stream(torch.cuda.Stream())  # its memory is free only when that stream is done
        del used
    assert active_memory() == before
    number = torch.ones((), device=device)
    assert (number + 1).item() == 2
    captured = graphs.capture(lambda: number + 1, device)
    captured.replay()
    assert captured.result.item() == 2


@needs_gpu
def test_a_graph_draws_from_the_present_seed():
    """As steps seed dropout: the seed of the replay counts, and the position in its numbers."""
    device = torch.device("cuda", 0)

    def draw():
        return torch.nn.functional.dropout(torch.ones(1000, device=device), 0.5)

    draw()
    captured = graphs.capture(draw, device)
    for seed in (3, 4):
        torch.manual_seed(seed)
        wanted = [draw(), draw()]
        torch.manual_seed(seed)
        for mask in wanted:
            captured.replay()
            assert torch.equal(captured.result, mask)

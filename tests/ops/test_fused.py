"""BatchNorm, ReLU and TAM in one pass, against the three one after another."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from tanet import TAM, tanet50, tanet_tiny
from tanet.model import Bottleneck, kept_for_backward
from tanet.ops import fused, paths, use

FORMATS = (torch.contiguous_format, torch.channels_last)


def needs_kernels(device):
    fast = {"cpu": "cpp", "cuda": "triton"}[device]
    if fast not in paths(device):
        pytest.skip(f"no {fast} on {device}")


def block(c=8, t=4, dtype=torch.float64, device="cpu", seed=0, **options):
    """(BatchNorm, TAM) with weights and statistics other than 0 and 1; but one of BatchNorm's weights is 0."""
    torch.manual_seed(seed)
    norm, tam = nn.BatchNorm2d(c, **options), TAM(c, t)
    for module in (norm, *tam.modules()):
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, -1, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            if module.running_mean is not None:
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
                nn.init.uniform_(module.running_var, 0.5, 2)
    norm.weight.data[1] = 0
    return norm.to(device, dtype), tam.to(device, dtype)


def frames(n=3, t=4, c=8, h=5, w=7, dtype=torch.float64, device="cpu", memory_format=torch.contiguous_format):
    z = 3 + 2 * torch.randn(n * t, c, h, w, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return z.to(device, dtype, memory_format=memory_format).requires_grad_()


def outcome(function, z, norm, tam):
    """Output, gradients of input and all parameters, and buffers afterwards."""
    y = function(z)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(y)
    parameters = [*norm.parameters(), *tam.parameters()]
    grads = torch.autograd.grad((y * weight).sum(), [z, *parameters])
    return [y.detach(), *grads, *norm.buffers(), *tam.buffers()]


def one_after_another(norm, tam):
    """The three under torch's autograd, on the plain path."""

    def run(z):
        with use("plain"):
            return tam(torch.relu(norm(z)))

    return run


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"track_running_stats": False}, {"eps": 0.5}])
def test_one_pass_equals_one_after_another(device, options, training, memory_format):
    needs_kernels(device)
    norm, tam = (module.train(training) for module in block(device=device, **options))
    apart = copy.deepcopy((norm, tam))
    z = frames(device=device, memory_format=memory_format)
    for _ in range(2):  # running statistics that were updated before
        got = outcome(lambda z: tam(z, norm=norm), z, norm, tam)
        wanted = outcome(one_after_another(*apart), z, *apart)
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_gradients_in_float32_and_under_bfloat16_autocast_are_close_to_float64(device, memory_format):
    needs_kernels(device)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
        norm, tam = block(c=64, t=8, dtype=torch.float32, device=device)
        z = frames(n=4, t=8, c=64, h=14, w=14, dtype=dtype, device=device, memory_format=memory_format)
        exact = block(c=64, t=8)
        wanted = outcome(one_after_another(*exact), z.detach().cpu().double().requires_grad_(), *exact)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
            results = outcome(partial(tam, norm=norm), z, norm, tam)
        assert results[0].dtype == dtype and results[0].stride() == z.stride() and results[1].stride() == z.stride()
        for got, exact_result in zip(results, wanted):
            exact_result = exact_result.double()  # the number of batches is an integer
            assert (got.cpu().double() - exact_result).norm() <= tolerance * exact_result.norm()


@pytest.mark.parametrize("path", ["plain", "cpp"])
def test_gradients_pass_gradcheck(path):
    if path not in paths("cpu"):
        pytest.skip("no compiler")
    norm, tam = block(c=4, t=3)
    z = frames(n=2, t=3, c=4, h=2, w=2)
    with use(path):
        assert torch.autograd.gradcheck(lambda z: tam(z, norm=norm), (z,))
        assert torch.autograd.gradcheck(tam, (z,))


@pytest.mark.parametrize("path", ["plain", "cpp"])
def test_a_loss_of_the_maps_alone_and_a_second_backward_pass(path):
    if path not in paths("cpu"):
        pytest.skip("no compiler")
    _, tam = block()
    z = frames()
    with use(path):
        got = torch.autograd.grad(tam.importance_map(z).square().sum(), z)[0]
        theta = z.mean((2, 3)).unflatten(0, (-1, 4)).transpose(1, 2)
        wanted = torch.autograd.grad(tam.local_branch(theta).square().sum(), z)[0]
        torch.testing.assert_close(got, wanted)
        y = tam(z).square().sum()
        first, second = (torch.autograd.grad(y, z, retain_graph=True)[0] for _ in range(2))
        assert torch.equal(first, second)


def test_no_more_is_kept_for_the_backward_pass_than_without_tam():
    needs_kernels("cpu")
    clip = torch.zeros(1, 8, 3, 96, 96, dtype=torch.uint8)
    with_tam, without = (kept_for_backward(tanet_tiny(8, temporal=name), clip) for name in ("tam", "none"))
    small = sum(p.numel() for p in tanet_tiny(8).parameters()) * 4  # the maps, whose size does not depend on H and W
    assert with_tam <= 1.02 * without + small / 10


def test_hooks_see_what_they_would_see_one_after_another():
    torch.manual_seed(0)
    layer = Bottleneck(8, 8, 1, "tam", 4)
    x, seen = frames(dtype=torch.float32).detach(), {}
    for name in ("bn1", "temporal"):
        layer.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: (inputs[0].clone(), output.clone())})
        )
    layer(x)
    assert torch.equal(seen["bn1"][0], layer.conv1(x))
    assert torch.equal(seen["temporal"][0], torch.relu(seen["bn1"][1]))


@pytest.mark.parametrize(
    "norm", [nn.SyncBatchNorm(8), nn.BatchNorm2d(8, affine=False), nn.GroupNorm(2, 8), nn.BatchNorm2d(8).bfloat16()]
)
def test_other_normalisations_are_not_fused(norm):
    clips = frames(dtype=torch.float32).unflatten(0, (-1, 4))
    assert not fused.can_fold(norm, clips, 3)


def test_a_single_value_a_channel_raises_torchs_own_error():
    norm, tam = block(t=1, dtype=torch.float32)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        tam(torch.ones(1, 8, 1, 1), norm=norm)


def test_every_path_gives_the_network_the_same_logits_and_gradients(device):
    torch.manual_seed(0)
    model = tanet_tiny(5, num_frames=4, dropout=0.0).to(device).double()
    model.load_state_dict({key: value + 0.1 if "bn" in key else value for key, value in model.state_dict().items()})
    clips = torch.randint(0, 256, (3, 4, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    results = []
    for path in paths(device):
        twin = copy.deepcopy(model)
        with use(path):
            loss = nn.functional.cross_entropy(twin(clips.to(device)), torch.tensor([0, 1, 2], device=device))
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in twin.parameters()), *twin.buffers()])
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-9, atol=1e-9)


def test_tanet_tiny_is_traced_whole_with_each_tam_as_one_operation():
    torch.manual_seed(0)
    model = tanet_tiny(5, num_frames=2).eval()
    clips, targets = torch.randn(1, 2, 3, 32, 32), []

    def backend(graph, inputs):
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, fullgraph=True, backend=backend)(clips), model(clips))
    assert targets.count("tanet.tam.default") == 4


@pytest.mark.slow
def test_the_network_is_compiled_without_a_graph_break_and_exported():
    torch.manual_seed(0)
    model = tanet_tiny(5, num_frames=4).eval()
    clips = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        wanted = model(clips)
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(clips), wanted, rtol=1e-4, atol=1e-5)
        program = torch.export.export(model, (clips,), dynamic_shapes=({0: torch.export.Dim("clips", min=1)},))
        torch.testing.assert_close(program.module()(clips), wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(program.module()(clips[:1]), model(clips[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_tanet50_is_traced_whole():
    torch.manual_seed(0)
    model = tanet50(5, num_frames=2).eval()
    clips = torch.randn(1, 2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(clips), model(clips))


def test_a_hook_on_a_branch_changes_nothing(device):
    """A hook needs the branch's own modules: the maps come from them, and the aggregation is an operation alone."""
    norm, tam = block(device=device)
    twin = copy.deepcopy((norm, tam))
    seen = []
    twin[1].local_branch.register_forward_hook(lambda module, inputs, output: seen.append(output))
    z = frames(device=device)
    got, wanted = outcome(lambda z: twin[1](z, norm=twin[0]), z, *twin), outcome(partial(tam, norm=norm), z, norm, tam)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    assert len(seen) == 1


def arguments_of_the_operations(norm, tam, z):
    """The arguments with which a training step of `tam` with `norm` calls both operations."""
    calls = {}

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            if operation.namespace == "tanet":
                calls[operation] = args
            return operation(*args, **(kwargs or {}))

    with Record():
        tam(z, norm=norm).square().sum().backward()
    return calls


@pytest.mark.parametrize("with_norm", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_the_operations_keep_torchs_rules(training, with_norm):
    """Schema, registration for autograd, and shapes, types and strides without values: torch.library.opcheck."""
    needs_kernels("cpu")
    norm, tam = (module.train(training) for module in block(c=4, t=3))
    z = frames(n=2, t=3, c=4, h=2, w=2, memory_format=torch.channels_last)
    calls = arguments_of_the_operations(norm if with_norm else None, tam, z)
    assert {operation.name() for operation in calls} == {"tanet::tam", "tanet::tam_backward"}
    for operation, args in calls.items():
        if operation.name() == "tanet::tam_backward":  # differentiable once
            args = tree_map_only(torch.Tensor, torch.Tensor.detach, args)
        torch.library.opcheck(operation, args)


def networks_and_clips():
    torch.manual_seed(0)
    model = tanet_tiny(5, num_frames=4, dropout=0.0)
    clips = torch.randint(0, 256, (3, 4, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return model, copy.deepcopy(model), clips


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_compiled_training_step_keeps_the_operation_and_never_compiles_again(precision):
    """One graph holds every TAM as one operation, with its BatchNorm; three steps train as in eager mode."""
    needs_kernels("cpu")
    torch._dynamo.reset()
    model, twin, clips = networks_and_clips()
    graphs = []

    def backend(graph, inputs):
        graphs.append([str(node.target) for node in graph.graph.nodes])
        return graph.forward

    compiled = torch.compile(twin, fullgraph=True, backend=aot_autograd(fw_compiler=backend))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(3):
            for network, owner in ((model, model), (compiled, twin)):
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                    loss = nn.functional.cross_entropy(network(clips).float(), torch.tensor([0, 1, 2]))
                owner.zero_grad()
                loss.backward()
    tolerance = {"float32": 1e-4, "bfloat16": 5e-2}[precision]
    for (name, got), wanted in zip(twin.named_parameters(), model.parameters()):
        assert (got.grad - wanted.grad).norm() <= tolerance * wanted.grad.norm() + 1e-6, name
    torch.testing.assert_close(dict(twin.named_buffers()), dict(model.named_buffers()), rtol=1e-2, atol=1e-4)
    targets = [target for graph in graphs for target in graph]
    tams = sum(isinstance(module, TAM) for module in model.modules())
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert targets.count("tanet.tam.default") == targets.count("tanet.tam_backward.default") == tams
    assert targets.count("aten._native_batch_norm_legit_functional.default") in (0, norms - tams)


def computes(event):
    """Whether a profiler's event is a torch operation that launches a kernel: no view, no new tensor, no compound."""
    if not event.key.startswith("aten::") or "empty" in event.key:
        return False
    operation = getattr(torch.ops.aten, event.key.removeprefix("aten::"))
    overload = getattr(operation, operation.overloads()[0])
    return not overload.is_view and not overload._can_decompose()


@pytest.mark.parametrize("with_norm", [True, False])
def test_a_module_and_step_launch_at_most_20_kernels(compiled, monkeypatch, with_norm):
    """Triton's programs, compiled but not run, and torch's operations between them, forward and backward."""
    from tanet.ops import dispatch

    monkeypatch.setattr(dispatch, "FAST_PATHS", {"cpu": "triton"})
    monkeypatch.setattr(dispatch, "_failure", lambda *_: None)
    norm, tam = block(c=64, t=8, dtype=torch.float32)
    z = frames(n=8, t=8, c=64, h=56, w=56, dtype=torch.bfloat16, memory_format=torch.channels_last)
    grad = torch.ones_like(z)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profiler:
        tam(z, norm=norm if with_norm else None).backward(grad)
    programs = [name for name, _ in compiled]
    operations = {event.key: event.count for event in profiler.key_averages() if computes(event)}
    assert operations["aten::mm"] == 6
    assert len(programs) + sum(operations.values()) <= 20, (programs, operations)

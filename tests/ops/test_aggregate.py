import re
import shutil
import warnings

import pytest
import torch

import tanet
from tanet.ops import aggregate, aggregate_reference, cpp_kernels, kernels_for, paths, plain_kernels, use
from tanet.ops.dispatch import _failure, _module

slow = pytest.mark.slow
needs_compiler = pytest.mark.skipif(cpp_kernels.compiler() is None, reason="no compiler")

# (T, K): one pair for the quick tests, the whole sweep for the slow ones.
QUICK = (8, 3)
FRAMES_AND_TAPS = [
    QUICK,
    *(pytest.param(t, k, marks=slow) for t in (1, 2, 8) for k in (1, 3, 5) if (t, k) != QUICK),
]


@pytest.fixture(params=["plain", "cpp", "triton"])
def path(request):
    """Each path that works on the test's device, in use during the test."""
    device = request.getfixturevalue("device") if "device" in request.fixturenames else "cpu"
    if request.param not in paths(device):
        pytest.skip(f"no {request.param} on {device}")
    with use(request.param):
        yield request.param


@pytest.fixture
def fresh_caches():
    """What the process knows about its compiler is forgotten before and after the test."""
    caches = (_module, _failure, cpp_kernels.compiler, cpp_kernels.build)
    for function in caches:
        function.cache_clear()
    yield
    for function in caches:
        function.cache_clear()


def inputs(n=2, t=5, c=3, h=2, w=4, k=3, dtype=torch.float64, device="cpu", seed=0):
    """x [N, T, C, H, W], importance V [N, C, T], kernel W [N, C, K]."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, t, c, h, w, generator=g, dtype=torch.float64)
    importance = torch.rand(n, c, t, generator=g, dtype=torch.float64)
    kernel = torch.randn(n, c, k, generator=g, dtype=torch.float64).softmax(-1)
    return [a.to(device, dtype).requires_grad_() for a in (x, importance, kernel)]


def by_the_formula(x, importance, kernel):
    """y[n,t,c] = sum_k W[n,c,k] V[n,c,t+k-p] x[n,t+k-p,c], one term at a time."""
    n_clips, frames, channels = x.shape[:3]
    taps = kernel.shape[2]
    clips = []
    for n in range(n_clips):
        for t in range(frames):
            for c in range(channels):
                y = torch.zeros_like(x[n, t, c])
                for k in range(taps):
                    s = t + k - taps // 2
                    if 0 <= s < frames:
                        y = y + kernel[n, c, k] * importance[n, c, s] * x[n, s, c]
                clips.append(y)
    return torch.stack(clips).view_as(x)


def gradients(function, arguments, seed=1):
    y = function(*arguments)
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(y.shape, generator=g, dtype=torch.float64).to(y)
    return y.detach(), torch.autograd.grad((y * weight).sum(), arguments)


@pytest.mark.parametrize("t, k", FRAMES_AND_TAPS)
@pytest.mark.parametrize("shape", [(2, 3, 2, 4), (1, 19, 7, 7)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_output_and_gradients_are_those_of_the_formula(path, memory_format, shape, t, k):
    n, c, h, w = shape
    x, importance, kernel = inputs(n=n, t=t, c=c, h=h, w=w, k=k)
    x = x.detach().flatten(0, 1).contiguous(memory_format=memory_format).unflatten(0, (n, t)).requires_grad_()
    y, grads = gradients(aggregate, (x, importance, kernel))
    wanted_y, wanted_grads = gradients(by_the_formula, (x, importance, kernel))
    torch.testing.assert_close(y, wanted_y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grads, wanted_grads, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("t", [1, 2, 8])
def test_the_reference_is_the_formula(t, k):
    arguments = inputs(t=t, k=k)
    got, wanted = gradients(aggregate_reference, arguments), gradients(by_the_formula, arguments)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layout", ["permuted", "sliced", "expanded"])
def test_frames_of_any_strides_are_accepted(path, layout):
    x, importance, kernel = inputs(n=2, t=4, c=6, h=3, w=5)
    x = x.detach()
    x = {
        "permuted": x.permute(0, 2, 1, 4, 3).contiguous().permute(0, 2, 1, 4, 3),
        "sliced": x.repeat(1, 1, 1, 2, 1)[..., ::2, :],
        "expanded": x[:1].expand(2, -1, -1, -1, -1),
    }[layout].requires_grad_()
    torch.testing.assert_close(
        gradients(aggregate, (x, importance, kernel)), gradients(by_the_formula, (x, importance, kernel))
    )


@pytest.mark.parametrize(
    "t, k", [(4, 3), pytest.param(1, 3, marks=slow), pytest.param(2, 5, marks=slow), pytest.param(4, 1, marks=slow)]
)
def test_gradients_pass_gradcheck(path, t, k):
    assert torch.autograd.gradcheck(aggregate, inputs(t=t, c=2, h=2, w=1, k=k))


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)])
def test_every_precision_is_close_to_float64_forward_and_backward(path, device, dtype, tolerance):
    exact = inputs(n=2, t=8, c=16, h=7, w=7)
    x, importance, kernel = (a.detach().to(device) for a in exact)
    arguments = [x.to(dtype).requires_grad_(), importance.float().requires_grad_(), kernel.float().requires_grad_()]
    y, grads = gradients(aggregate, arguments)
    wanted_y, wanted_grads = gradients(aggregate_reference, exact)
    assert y.dtype == dtype and [g.dtype for g in grads] == [dtype, torch.float32, torch.float32]
    for got, wanted in zip((y, *grads), (wanted_y, *wanted_grads)):
        assert (got.cpu().double() - wanted).norm() <= tolerance * wanted.norm()


@pytest.mark.parametrize("needed", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_gradients_do_not_depend_on_which_of_them_are_needed(path, needed):
    arguments = inputs()
    wanted = gradients(aggregate, arguments)[1]
    some = [a.detach().requires_grad_(i in needed) for i, a in enumerate(arguments)]
    y = aggregate(*some)
    g = torch.Generator().manual_seed(1)
    (y * torch.randn(y.shape, generator=g, dtype=torch.float64)).sum().backward()
    for i, argument in enumerate(some):
        torch.testing.assert_close(argument.grad, wanted[i] if i in needed else None)


def frames_in(memory_format, n=2, t=8, c=16):
    x = inputs(n=n, t=t, c=c, h=6, w=5, dtype=torch.float32)[0].detach()
    return x.flatten(0, 1).contiguous(memory_format=memory_format).unflatten(0, (n, t))  # [N, T, C, H, W]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_memory_format_of_frames_is_kept_forward_and_backward(path, device, memory_format):
    x = frames_in(memory_format).to(device).requires_grad_()
    importance, kernel = (a.detach() for a in inputs(t=8, c=16, dtype=torch.float32, device=device)[1:])
    y = aggregate(x, importance, kernel)
    y.backward(torch.ones_like(y))
    assert y.stride() == x.stride()
    assert x.grad.stride() == x.stride()
    assert y.flatten(0, 1).is_contiguous(memory_format=memory_format)


def test_memory_format_does_not_change_the_result(path):
    importance, kernel = inputs(t=8, c=16, dtype=torch.float32)[1:]
    plain, last = (aggregate(frames_in(f), importance, kernel) for f in (torch.contiguous_format, torch.channels_last))
    torch.testing.assert_close(plain, last)


def test_gradient_that_is_an_expanded_scalar_is_accepted(path):
    arguments = inputs()
    wanted = torch.autograd.grad((by_the_formula(*arguments)).sum(), arguments)
    torch.testing.assert_close(torch.autograd.grad(aggregate(*arguments).sum(), arguments), wanted)


def test_inputs_are_left_as_they_are(path):
    arguments = [a.detach() for a in inputs()]
    before = [a.clone() for a in arguments]
    aggregate(*arguments)
    assert all(torch.equal(a, b) for a, b in zip(arguments, before))


@pytest.mark.parametrize(
    "x, importance, kernel, message",
    [
        ((8, 3, 4, 4), (2, 3, 4), (2, 3, 3), r"\[N, T, C, H, W\].*\(8, 3, 4, 4\)"),
        ((2, 4, 3, 5, 5), (2, 4, 3), (2, 3, 3), r"\[N, C, T\] = \(2, 3, 4\).*\(2, 4, 3\)"),
        ((2, 4, 3, 5, 5), (1, 3, 4), (2, 3, 3), r"\[N, C, T\] = \(2, 3, 4\).*\(1, 3, 4\)"),
        ((2, 4, 3, 5, 5), (2, 3, 4), (2, 3), r"\[N, C, K\] = \(2, 3, odd K\).*\(2, 3\)"),
        ((2, 4, 3, 5, 5), (2, 3, 4), (2, 4, 3), r"\[N, C, K\] = \(2, 3, odd K\).*\(2, 4, 3\)"),
        ((2, 4, 3, 5, 5), (2, 3, 4), (2, 3, 4), r"\[N, C, K\] = \(2, 3, odd K\).*\(2, 3, 4\)"),
    ],
)
def test_wrong_shapes_are_refused_with_the_expected_one(x, importance, kernel, message):
    with pytest.raises(ValueError, match=message):
        aggregate(torch.zeros(x), torch.zeros(importance), torch.zeros(kernel))


def test_result_is_the_same_to_the_bit_with_any_number_of_threads(path):
    arguments = inputs(n=2, t=8, c=24, h=20, w=20, dtype=torch.float32)
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        y, grads = gradients(aggregate, arguments)
        results.append((y, *grads))
    torch.set_num_threads(threads)
    if path == "plain":  # torch divides its sums among the threads
        torch.testing.assert_close(results[0], results[1])
    else:
        assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other))


@needs_compiler
@pytest.mark.parametrize(
    "dtype, clips, tolerance", [(torch.float32, 1, 1e-6), pytest.param(torch.bfloat16, 2, 1e-2, marks=slow)]
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_frames_larger_than_the_cache_give_the_same_result(memory_format, dtype, clips, tolerance):
    """The C++ kernels store results of more than 16 MiB past the cache."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(clips * 8, 64, 96, 96, generator=g).to(dtype, memory_format=memory_format).unflatten(0, (clips, 8))
    importance, kernel = torch.rand(clips, 64, 8, generator=g), torch.rand(clips, 64, 3, generator=g)
    arguments = [a.requires_grad_() for a in (x, importance, kernel)]
    with use("cpp"):
        y, (grad_x, *_) = gradients(aggregate, arguments)
    wanted, (wanted_grad_x, *_) = gradients(
        aggregate_reference, [a.detach().float().requires_grad_() for a in arguments]
    )
    assert x.nbytes > 2**24
    torch.testing.assert_close(y.float(), wanted, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(grad_x.float(), wanted_grad_x, rtol=2 * tolerance, atol=2 * tolerance)


def test_without_a_compiler_the_plain_path_is_taken_without_a_warning(fresh_caches, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert paths("cpu") == ("plain",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arguments = inputs()
        torch.testing.assert_close(aggregate(*arguments), by_the_formula(*arguments))
    with use("cpp"), pytest.raises(RuntimeError, match="'cpp' was asked for"):
        aggregate(*arguments)


@needs_compiler
def test_a_compiler_that_fails_gives_a_warning_and_the_plain_path(fresh_caches, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", shutil.which("false"))
    arguments = inputs()
    with pytest.warns(UserWarning, match="uses plain torch operations.*false failed"):
        y = aggregate(*arguments)
    torch.testing.assert_close(y, by_the_formula(*arguments))
    with use("cpp"), pytest.raises(RuntimeError, match="false failed"):
        aggregate(*arguments)


@needs_compiler
def test_kernels_are_compiled_once_for_a_type_and_number_of_taps(fresh_caches, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cpp_kernels, "FLAGS", ("-O0", *cpp_kernels.FLAGS[1:]))  # compiles in a third of the time
    for _ in range(2):
        cpp_kernels.build.cache_clear()
        kernels_for(torch.zeros(1, 1, 1, 1, 1), 3)
    assert len(list((tmp_path / "tanet").iterdir())) == 1


@needs_compiler
def test_the_compiled_library_depends_on_all_source_files(monkeypatch, tmp_path):
    """A change of any file gives another digest and so another library."""
    for file in cpp_kernels._sources():
        shutil.copy(file, tmp_path)
    monkeypatch.setattr(cpp_kernels, "SOURCE", tmp_path / cpp_kernels.SOURCE.name)
    files = cpp_kernels._sources()
    included = {name for file in files for name in re.findall(r'#include "(.*)"', file.read_text())}
    assert included and included < {file.name for file in files}
    digests = {cpp_kernels._digest(cpp_kernels.FLAGS)}
    for file in files:
        file.write_text(file.read_text() + "// changed\n")
        digests.add(cpp_kernels._digest(cpp_kernels.FLAGS))
    assert len(digests) == 1 + len(files)


def test_a_type_that_the_fast_path_does_not_know_takes_the_plain_path():
    arguments = [a.detach().to(torch.float16) for a in inputs()]
    y = aggregate(*arguments)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y, by_the_formula(*arguments), rtol=1e-2, atol=1e-2)


def test_unknown_path_is_refused():
    with pytest.raises(ValueError, match="auto, plain, cpp, triton; got 'fast'"), use("fast"):
        pass


def test_the_path_is_chosen_beside_the_function_and_in_its_wing():
    x = torch.zeros(1, 1, 1, 1, 1)
    default = kernels_for(x, 3)
    for choose in (tanet.aggregate.use, tanet.ops.use):
        with choose("plain"):
            assert kernels_for(x, 3) is plain_kernels
        assert kernels_for(x, 3) is default


class OnlyAggregate(torch.nn.Module):
    def forward(self, x, importance, kernel):
        return aggregate(x, importance, kernel)


def test_compiled_without_a_graph_break_with_the_same_gradients(path):
    arguments = inputs(dtype=torch.float32)
    compiled = torch.compile(aggregate, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(gradients(compiled, arguments), gradients(aggregate, arguments), rtol=1e-6, atol=1e-6)


def test_exported_in_operations_of_torch_alone(path):
    arguments = tuple(a.detach() for a in inputs(dtype=torch.float32))
    program = torch.export.export(OnlyAggregate(), arguments)
    assert not any("tanet" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(*arguments), aggregate(*arguments))


def test_the_registered_operations_keep_to_their_descriptions(path):
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = frames_in(memory_format).requires_grad_()
        importance, kernel = inputs(t=8, c=16, dtype=torch.float32)[1:]
        torch.library.opcheck(torch.ops.tanet.aggregate.default, (x, importance, kernel))

import pytest
import torch

from tanet.aggregate import aggregate, aggregate_reference


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


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("t", [1, 2, 8])
@pytest.mark.parametrize("function", [aggregate, aggregate_reference])
def test_output_and_gradients_are_those_of_the_formula(function, t, k):
    arguments = inputs(t=t, k=k)
    y, grads = gradients(function, arguments)
    wanted_y, wanted_grads = gradients(by_the_formula, arguments)
    torch.testing.assert_close(y, wanted_y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grads, wanted_grads, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("t, k", [(1, 3), (2, 5), (4, 1), (4, 3)])
def test_gradients_pass_gradcheck(t, k):
    assert torch.autograd.gradcheck(aggregate, inputs(t=t, c=2, h=2, w=1, k=k))


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)])
def test_every_precision_is_close_to_float64_forward_and_backward(device, dtype, tolerance):
    exact = inputs(n=2, t=8, c=16, h=7, w=7)
    x, importance, kernel = (a.detach().to(device) for a in exact)
    arguments = [x.to(dtype).requires_grad_(), importance.float().requires_grad_(), kernel.float().requires_grad_()]
    y, grads = gradients(aggregate, arguments)
    wanted_y, wanted_grads = gradients(aggregate_reference, exact)
    assert y.dtype == dtype and [g.dtype for g in grads] == [dtype, torch.float32, torch.float32]
    for got, wanted in zip((y, *grads), (wanted_y, *wanted_grads)):
        assert (got.cpu().double() - wanted).norm() <= tolerance * wanted.norm()


@pytest.mark.parametrize("needed", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_gradients_that_are_not_asked_for_change_nothing_about_the_others(needed):
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
def test_memory_format_of_frames_is_kept_forward_and_backward(device, memory_format):
    x = frames_in(memory_format).to(device).requires_grad_()
    importance, kernel = (a.detach() for a in inputs(t=8, c=16, dtype=torch.float32, device=device)[1:])
    y = aggregate(x, importance, kernel)
    y.backward(torch.ones_like(y))
    assert y.stride() == x.stride()
    assert x.grad.stride() == x.stride()
    assert y.flatten(0, 1).is_contiguous(memory_format=memory_format)


def test_memory_format_does_not_change_the_result():
    importance, kernel = inputs(t=8, c=16, dtype=torch.float32)[1:]
    plain, last = (aggregate(frames_in(f), importance, kernel) for f in (torch.contiguous_format, torch.channels_last))
    torch.testing.assert_close(plain, last)


def test_gradient_that_is_an_expanded_scalar_is_accepted():
    arguments = inputs()
    wanted = torch.autograd.grad((by_the_formula(*arguments)).sum(), arguments)
    torch.testing.assert_close(torch.autograd.grad(aggregate(*arguments).sum(), arguments), wanted)


def test_inputs_are_left_as_they_are():
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

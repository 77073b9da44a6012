import math

import pytest
import torch

from tanet import TAM, aggregate


def make_tam(channels=8, num_frames=4, seed=0, **options) -> TAM:
    """A TAM in eval mode with BatchNorm statistics other than 0 and 1."""
    torch.manual_seed(seed)
    tam = TAM(channels, num_frames, **options)
    for module in tam.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return tam.eval()


def frames(n=3, t=4, c=8, h=5, w=6, seed=1):
    return torch.randn(n * t, c, h, w, generator=torch.Generator().manual_seed(seed))


def batch_norm(module, value, channel):
    mean, var = module.running_mean[channel], module.running_var[channel]
    return (value - mean) / torch.sqrt(var + module.eps) * module.weight[channel] + module.bias[channel]


def importance_by_hand(tam, theta):
    """theta [C, T] of one clip -> V [C, T]: conv over time, BN, ReLU, 1x1 conv, sigmoid, term by term."""
    conv, norm, _, out, _ = tam.local_branch
    channels, num_frames = theta.shape
    v = torch.zeros_like(theta)
    for t in range(num_frames):
        hidden = []
        for o in range(conv.weight.shape[0]):
            total = theta.new_zeros(())
            for k in range(3):
                if 0 <= t + k - 1 < num_frames:
                    total = total + (conv.weight[o, :, k] * theta[:, t + k - 1]).sum()
            hidden.append(max(batch_norm(norm, total, o), theta.new_zeros(())))
        for c in range(channels):
            v[c, t] = 1 / (1 + math.exp(-sum(out.weight[c, o, 0] * hidden[o] for o in range(len(hidden)))))
    return v


def kernel_by_hand(tam, theta):
    """theta [C, T] of one clip -> W [C, K]: each channel through FC, BN, ReLU, FC, softmax."""
    first, norm, _, second, _ = tam.global_branch
    rows = []
    for channel in theta:
        hidden = [
            max(batch_norm(norm, (first.weight[j] * channel).sum(), j), 0 * channel[0])
            for j in range(len(first.weight))
        ]
        scores = [math.exp(sum(w * h for w, h in zip(row, hidden))) for row in second.weight]
        rows.append([s / sum(scores) for s in scores])
    return theta.new_tensor(rows)


@torch.no_grad()
@pytest.mark.parametrize("num_frames, taps", [(4, 3), (2, 5)])
def test_whole_module_is_the_papers_equations(num_frames, taps):
    tam = make_tam(channels=4, num_frames=num_frames, kernel_size=taps).double()
    x = frames(n=2, t=num_frames, c=4, h=3, w=2).double()
    clips = x.view(2, num_frames, 4, 3, 2)
    wanted = torch.zeros_like(clips)
    for n, clip in enumerate(clips):
        theta = clip.mean((2, 3)).T  # [C, T]
        v, w = importance_by_hand(tam, theta), kernel_by_hand(tam, theta)
        for t in range(num_frames):
            for k in range(taps):
                s = t + k - taps // 2
                if 0 <= s < num_frames:
                    wanted[n, t] += (w[:, k] * v[:, s])[:, None, None] * clip[s]
    torch.testing.assert_close(tam(x).view_as(wanted), wanted, rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_importance_lies_between_0_and_1_and_the_kernel_sums_to_1(device):
    tam, x = make_tam(kernel_size=5).to(device), frames().to(device)
    importance, kernel = tam.importance_map(x), tam.aggregation_kernel(x)
    assert importance.shape == (3, 8, 4) and kernel.shape == (3, 8, 5)
    assert 0 < importance.min() and importance.max() < 1
    assert kernel.min() >= 0
    torch.testing.assert_close(kernel.sum(-1), torch.ones(3, 8, device=device))


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_forward_uses_the_maps_that_the_methods_show(device, dtype):
    tam, x = make_tam().to(device), frames().to(device, dtype)
    clips = x.unflatten(0, (3, 4))
    wanted = aggregate(clips, tam.importance_map(x), tam.aggregation_kernel(x)).flatten(0, 1)
    torch.testing.assert_close(tam(x), wanted)


@torch.no_grad()
def test_every_device_computes_the_same(device):
    torch.testing.assert_close(make_tam().to(device)(frames().to(device)).cpu(), make_tam()(frames()))


@torch.no_grad()
def test_clips_do_not_see_each_other():
    tam, x = make_tam(), frames()
    torch.testing.assert_close(tam(x)[4:8], tam(x[4:8]))


@torch.no_grad()
def test_maps_stay_float32_under_autocast(device):
    tam, x = make_tam(channels=64, num_frames=8).to(device), frames(t=8, c=64).to(device)
    wanted = tam.importance_map(x), tam.aggregation_kernel(x)
    with torch.autocast(device, torch.bfloat16):
        maps = tam.importance_map(x), tam.aggregation_kernel(x)
    assert [m.dtype for m in maps] == [torch.float32, torch.float32]
    torch.testing.assert_close(maps, wanted, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_forward_under_autocast_is_the_float32_one(device):
    tam, x = make_tam().to(device), frames().to(device)
    wanted = tam(x)
    with torch.autocast(device, torch.bfloat16):
        torch.testing.assert_close(tam(x), wanted)


@torch.no_grad()
def test_bfloat16_frames_give_bfloat16_frames_close_to_the_float32_ones(device):
    tam, x = make_tam().to(device), frames().to(device)
    wanted = tam(x)
    with torch.autocast(device, torch.bfloat16):
        y = tam(x.bfloat16())
    assert y.dtype == torch.bfloat16
    assert (y.float() - wanted).norm() < 0.02 * wanted.norm()


def test_gradients_reach_every_parameter_and_the_input():
    tam, x = make_tam().train(), frames().requires_grad_()
    tam(x).square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in tam.parameters())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_memory_format_is_kept(memory_format):
    x = frames().contiguous(memory_format=memory_format)
    assert make_tam()(x).stride() == x.stride()


@pytest.mark.parametrize("c, t, k, alpha, beta", [(64, 8, 3, 2, 4), (512, 16, 3, 2, 4), (24, 4, 5, 3, 8)])
def test_parameter_count(c, t, k, alpha, beta):
    local = 3 * c * (c // beta) + 2 * (c // beta) + (c // beta) * c
    global_ = t * alpha * t + 2 * alpha * t + alpha * t * k
    tam = TAM(c, t, kernel_size=k, alpha=alpha, beta=beta)
    assert sum(p.numel() for p in tam.parameters()) == local + global_


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kernel_size": 2}, "kernel_size must be odd.*2"),
        ({"kernel_size": -1}, "kernel_size must be odd and positive.*-1"),
        ({"channels": 10}, r"channels \(10\).*beta \(4\)"),
        ({"beta": 3}, r"channels \(8\).*beta \(3\)"),
        ({"num_frames": 0}, "num_frames.*0"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TAM(**{"channels": 8, "num_frames": 4} | options)


@pytest.mark.parametrize("method", ["forward", "importance_map", "aggregation_kernel"])
@pytest.mark.parametrize(
    "shape, message",
    [
        ((6, 8, 2, 2), "6 frames.*clips of 4"),
        ((8, 4, 2, 2), r"N\*T, 8, H, W.*\(8, 4, 2, 2\)"),
        ((2, 4, 8, 2, 2), r"N\*T, 8, H, W"),
    ],
)
def test_wrong_input_is_refused(method, shape, message):
    with pytest.raises(ValueError, match=message):
        getattr(make_tam(), method)(torch.zeros(shape))

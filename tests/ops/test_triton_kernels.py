"""The kernels' values are tested on a GPU if there is one, and always in Triton's interpreter, in a process of its own.

That the kernels compile for a GPU is tested without one.
"""

import pytest
import torch

triton = pytest.importorskip("triton")
from support.gpu import needs_gpu  # noqa: E402
from support.triton_here import (  # noqa: E402
    DEVICE,
    INTERPRETED,
    compiles,
    computes,
    memory_beyond_registers,
)

from tanet.ops import triton_kernels as kernels  # noqa: E402

layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "last"])
norms = pytest.mark.parametrize("with_affine", [False, True], ids=["plain", "affine"])

TOLERANCES = {  # relative, of frames and of what is summed in a wider type; the interpreter cuts bfloat16 off
    torch.float64: (1e-12, 1e-12),
    torch.float32: (1e-6, 1e-6),
    torch.float16: (4e-4, 1e-6),
    torch.bfloat16: (5e-3, 1e-6),
}


class Case:
    """Random inputs of all kernels; `norm` and `offsets` are None without affine."""

    def __init__(self, shape, taps, dtype, layout, with_affine, device=DEVICE):
        n, t, c, h, w = shape
        small = kernels.number(dtype)
        g = torch.Generator().manual_seed(0)

        def draw(*size, dtype=small):
            return torch.randn(size, generator=g, dtype=torch.float64).to(device, dtype)

        def frames():
            return draw(n * t, c, h, w, dtype=dtype).contiguous(memory_format=layout).unflatten(0, (n, t))

        self.taps, self.z, self.grad_y = taps, frames(), frames()
        self.importance, self.kernel, self.constant = draw(n, c, t), draw(n, c, taps), draw(n, c, t)
        self.norm = (draw(c), draw(c), draw(c)) if with_affine else None
        self.offsets = (draw(c), draw(c)) if with_affine else None
        self.weight = draw(c)

    def computed(self):
        """The kernels' results: y, grad_z, the sums, the statistics."""
        y = kernels.mix(self.z, self.importance, self.kernel, self.norm)
        grad_z = kernels.spread(
            self.grad_y, self.z, self.importance, self.kernel, self.constant, self.norm, self.offsets
        )
        sums = [*kernels.pool(self.z, self.norm).sum(1)]
        sums += kernels.correlate(self.grad_y, self.z, self.taps, self.norm).sum(1)
        return y, grad_z, sums, kernels.statistics(self.z, self.weight, 0.5)

    def by_the_formula(self):
        """The same in float64, one frame and tap at a time."""
        z, grad_y, v, w = (a.cpu().double() for a in (self.z, self.grad_y, self.importance, self.kernel))
        n, t, c = z.shape[:3]
        frame = (slice(None), slice(None), None, None)
        passed, factor, centred = torch.ones_like(z), torch.ones_like(z), z
        if self.norm is not None:
            mean, factor, shift, a, b = (p.cpu().double()[:, None, None] for p in (*self.norm, *self.offsets))
            centred = z - mean
            passed = (factor * centred + shift > 0).double()
        x = z if self.norm is None else passed * (factor * centred + shift)
        y, du = torch.zeros_like(z), torch.zeros_like(z)
        products, passing = torch.zeros(2, n, c, t, self.taps, dtype=torch.float64)
        for s in range(t):
            du[:, s] = self.constant.cpu().double()[:, :, s][frame]
            for k in range(self.taps):
                into = s - k + self.taps // 2
                if 0 <= into < t:
                    weight = (w[:, :, k] * v[:, :, s])[frame]
                    y[:, into] += weight * x[:, s]
                    du[:, s] += weight * grad_y[:, into]
                    products[:, :, s, k] = (passed * centred)[:, s].mul(grad_y[:, into]).sum((-2, -1))
                    passing[:, :, s, k] = passed[:, s].mul(grad_y[:, into]).sum((-2, -1))
        totals = [each.sum((-2, -1)).transpose(1, 2) for each in (passed * centred, passed)]
        mean, variance = z.mean((0, 1, 3, 4)), z.var((0, 1, 3, 4), correction=0)
        inverse_std = 1 / (variance + 0.5).sqrt()
        moments = mean, variance, inverse_std, self.weight.cpu().double() * inverse_std
        if self.norm is None:
            return y, du, (totals[0], products), moments
        return y, factor * (passed * du - a - centred * b), (*totals, products, passing), moments

    def check(self):
        frames, summed = TOLERANCES[self.z.dtype]
        (y, grad_z, sums, moments), wanted = self.computed(), self.by_the_formula()
        assert y.dtype == grad_z.dtype == self.z.dtype
        assert y.shape == grad_z.shape == self.z.shape
        assert y.flatten(0, 1).stride() == grad_z.flatten(0, 1).stride() == self.z.flatten(0, 1).stride()
        assert_near(y, wanted[0], frames)
        assert_near(grad_z, wanted[1], frames)
        for got, exact in zip((*sums, *moments), (*wanted[2], *wanted[3])):
            assert got.dtype == kernels.number(self.z.dtype)
            assert_near(got, exact, summed)


def assert_near(got, exact, tolerance):
    assert got.shape == exact.shape
    assert (got.cpu().double() - exact).norm() <= tolerance * exact.norm() + 1e-12


SHAPES = {  # N, T, C, H, W, taps
    "one tile": (1, 8, 3, 7, 7, 3),
    "more channels than a tile holds": (1, 2, 66, 3, 2, 5),
    "one frame, one pixel, one tap": (2, 1, 4, 1, 1, 1),
    "pixels for several programs": (1, 1, 2, 46, 47, 3),
    "frames for several programs": (1, 9, 2, 1, 3, 5),
}


# A GPU compiles six kernels for each case; without affine it runs one shape alone.
FORMULA = [(name, affine) for name in SHAPES for affine in (False, True) if INTERPRETED or affine or name == "one tile"]


@computes
@layouts
@pytest.mark.parametrize("name, with_affine", FORMULA)
def test_float64_is_the_formula(name, layout, with_affine):
    *shape, taps = SHAPES[name]
    Case(shape, taps, torch.float64, layout, with_affine).check()


@computes
@layouts
@norms
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_every_precision_is_close_to_the_formula(dtype, layout, with_affine):
    Case((1, 3, 8, 5, 4), 3, dtype, layout, with_affine).check()


# Every shape, type and affine once or twice: each combination compiles six kernels.
WHOLE = (
    ((4, 8, 64, 56, 56), torch.bfloat16, True),
    ((4, 8, 64, 56, 56), torch.float32, True),
    ((3, 8, 100, 14, 14), torch.float16, True),
    ((3, 8, 100, 14, 14), torch.bfloat16, False),
    ((2, 16, 512, 7, 7), torch.bfloat16, True),
    ((1, 32, 3, 29, 31), torch.float32, False),
)


@needs_gpu
@layouts
@pytest.mark.parametrize("shape, dtype, with_affine", WHOLE)
def test_whole_networks_shapes_on_a_gpu(shape, dtype, layout, with_affine):
    Case(shape, 3, dtype, layout, with_affine).check()


@computes
@layouts
def test_the_same_input_gives_the_same_bits(layout):
    case = Case((1, 2, 3, 5, 5) if INTERPRETED else (4, 8, 64, 28, 28), 3, torch.float32, layout, True)
    (y, grad_z, sums, moments), (y2, grad_z2, sums2, moments2) = case.computed(), case.computed()
    assert all(torch.equal(a, b) for a, b in zip((y, grad_z, *sums, *moments), (y2, grad_z2, *sums2, *moments2)))


@computes
@layouts
@norms
def test_tensors_of_other_strides_are_accepted(layout, with_affine):
    case = Case((2, 3, 4, 2, 3), 3, torch.float64, layout, with_affine)
    case.z = case.z[..., ::2]
    case.grad_y = case.grad_y[:1, :, :, :1, :1].expand(case.z.shape)
    case.importance = case.importance.transpose(0, 2).contiguous().transpose(0, 2)
    case.kernel = case.kernel.transpose(0, 2).contiguous().transpose(0, 2)
    if with_affine:
        case.norm = tuple(torch.stack((v, v), 1)[:, 0] for v in case.norm)
    y, grad_z, sums, moments = case.computed()
    wanted = case.by_the_formula()
    for got, exact in zip((y, grad_z, *sums, *moments), (wanted[0], wanted[1], *wanted[2], *wanted[3])):
        assert_near(got, exact, 1e-12)


@computes
@layouts
def test_gradient_of_frames_needs_no_frames_without_affine(layout):
    case = Case((1, 3, 4, 2, 2), 3, torch.float32, layout, False)
    grad_z = kernels.spread(case.grad_y, None, case.importance, case.kernel, case.constant)
    assert_near(grad_z, case.by_the_formula()[1], 1e-6)


@computes
def test_gradient_follows_the_format_of_the_frames():
    last = Case((1, 2, 3, 2, 2), 3, torch.float32, torch.channels_last, True)
    wanted = last.computed()
    last.grad_y = last.grad_y.contiguous()
    got = last.computed()
    assert got[1].flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(got[1], wanted[1]) and torch.equal(got[2][2], wanted[2][2])


@computes
def test_not_a_number_passes_relu_and_reaches_its_pixel_alone():
    case = Case((1, 3, 2, 2, 2), 3, torch.float32, torch.contiguous_format, True)
    case.z[0, 1, 1, 0, 1] = float("nan")
    y = kernels.mix(case.z, case.importance, case.kernel, case.norm)
    assert torch.isnan(y).nonzero().tolist() == [[0, t, 1, 0, 1] for t in range(3)]


@computes
@layouts
def test_variance_of_values_far_from_zero_keeps_its_digits(layout, monkeypatch):
    monkeypatch.setattr(kernels, "MERGED", (4, 8))  # several rounds of merging
    monkeypatch.setattr(kernels, "LAST_MERGED", 9)
    case = Case((3, 6, 3, 5, 5), 3, torch.float32, layout, False)
    case.z = case.z + 1000
    mean, variance, *_ = kernels.statistics(case.z, case.weight, 0.5)
    exact = case.by_the_formula()[3]
    assert_near(mean, exact[0], 1e-6)
    assert_near(variance, exact[1], 1e-4)  # by mean(z**2) - mean(z)**2 it would be 5 % off


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_without_a_gpu_the_error_says_that_triton_cannot_compile():
    with pytest.raises(RuntimeError, match="Triton cannot compile and run its kernels here: "):
        kernels.build(torch.float32, 3)


@needs_gpu
@pytest.mark.parametrize("dtype", sorted(kernels.SCALARS, key=str), ids=str)
def test_kernels_can_be_built_on_a_gpu(dtype):
    kernels.build(dtype, 3)


# The quick part compiles what trainings use; the slow part compiles the rest.
COMPILED = [(torch.bfloat16, True, torch.channels_last)]
GPU_TYPES = ((torch.float32, 0), (torch.float32, 1), (torch.bfloat16, 0), (torch.bfloat16, 1), (torch.float16, 1))
for precision, affine in GPU_TYPES:
    for memory_format in (torch.contiguous_format, torch.channels_last):
        if (precision, affine, memory_format) not in COMPILED:
            COMPILED.append(pytest.param(precision, affine, memory_format, marks=pytest.mark.slow))


@compiles
@pytest.mark.parametrize("dtype, with_affine, layout", COMPILED, ids=str)
def test_kernels_compile_for_a_gpu_and_fit_its_registers(compiled, dtype, layout, with_affine, tmp_path):
    Case((1, 8, 64, 14, 16), 3, dtype, layout, with_affine, device="cpu").computed()
    assert {name for name, _ in compiled} == {"pool", "mix", "spread", "correlate", "moments", "statistics"}
    for name, kernel in compiled:
        assert memory_beyond_registers(kernel, tmp_path) == 0, name


@compiles
@pytest.mark.slow
@pytest.mark.parametrize("frames, taps", [(1, 1), (32, 3)])
def test_short_and_long_clips_compile(compiled, frames, taps):
    case = Case((1, frames, 8, 4, 4), taps, torch.bfloat16, torch.channels_last, True, device="cpu")
    case.computed()
    assert len(compiled) >= 5


@compiles
def test_frames_are_read_many_bytes_at_a_time(compiled):
    for layout in (torch.contiguous_format, torch.channels_last):
        case = Case((1, 8, 64, 14, 16), 3, torch.bfloat16, layout, False, device="cpu")
        kernels.mix(case.z, case.importance, case.kernel)
    (_, contiguous), (_, last) = compiled
    assert "ld.global.v4.b32" in contiguous.asm["ptx"] and "st.global.v4.b32" in contiguous.asm["ptx"]
    assert "ld.global.v2.b32" in last.asm["ptx"] and "st.global.v2.b32" in last.asm["ptx"]

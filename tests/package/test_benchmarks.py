"""The baseline of the benchmarks, their way of measuring, and their tables. The measurements are run by hand."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tanet import TAM, recipes
from tanet.demo import ablation

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
REMAKE = "run python benchmarks/pages.py --write"


def load(name):
    """A script of benchmarks/ as a module; the folder is not a package."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.path.append(str(BENCHMARKS))  # pages.py imports table.py by name
common, baselines, gpu, table, pages = (load(name) for name in ("common", "baselines", "gpu", "table", "pages"))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("num_frames, taps", [(8, 3), (2, 5), (1, 1)])
def test_published_formulation_computes_what_tam_does(num_frames, taps, memory_format):
    torch.manual_seed(0)
    tam = TAM(8, num_frames, kernel_size=taps).double().train()
    x = torch.randn(3 * num_frames, 8, 5, 6).double().to(memory_format=memory_format)
    results = []
    for module in (tam, baselines.PublishedTAM(tam)):
        tam.zero_grad()
        frames = x.clone().requires_grad_()
        y = module(frames)
        y.backward(torch.cos(torch.arange(y.numel())).double().view(y.shape))
        results.append((y.detach(), frames.grad, [parameter.grad for parameter in tam.parameters()]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-9)


def test_contestants_take_turns_and_warm_up_rounds_are_left_out():
    calls = []

    def contestant(name, times):
        def run():
            calls.append(name)
            return {"time": times[calls.count(name) - 1]}

        return run

    contestants = {"a": contestant("a", [90, 90, 2, 4, 10]), "b": contestant("b", [90, 90, 1, 1, 20])}
    times = common.measure_in_turns(contestants, 3)
    assert calls == ["a", "b"] * 5
    assert times == {"a": {"time": [2, 4, 10]}, "b": {"time": [1, 1, 20]}}
    row, base_row = common.ratios(times, "b", task="t")  # to the base in the same round: 2, 4 and 0.5
    assert (row["task"], row["contestant"], row["base"]) == ("t", "a", "b")
    assert row["ratio"] == 2 and row["range"] == [0.5, 4]
    assert base_row["ratio"] == 1 and base_row["range"] == [1, 1]


def test_a_record_names_date_device_and_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    common.record("module", [{"ratio": 0.5, "range": [0.4, 0.6]}, {"ratio": 1.0}])
    (path,) = (tmp_path / "results").iterdir()
    stored = json.loads(path.read_text())
    assert {"date", "device", "threads", "python", "torch"} <= stored.keys()
    assert stored["rows"] == [{"ratio": 0.5, "range": [0.4, 0.6]}, {"ratio": 1.0}]


def write_record(folder, name, rows, device="A CPU"):
    record = {"date": "2031-02-03", "device": device, "threads": 1, "torch": "9.9", "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(record))


def module_rows(cpp, precision="float32"):
    conditions = {"task": "module", "clips": 8, "precision": precision, "layout": "contiguous", "base": "published"}
    return [
        conditions
        | {"figure": figure, "contestant": "tanet, cpp", "ratio": ratio, "range": [ratio - 0.01, ratio + 0.01]}
        for figure, ratio in cpp.items()
    ]


def line_of(text, *words):
    (line,) = [line for line in text.splitlines() if "| aim |" not in line and all(word in line for word in words)]
    return line


def test_targets_without_a_record_are_not_run(tmp_path):
    lines = table.targets(tmp_path).splitlines()[2:]
    assert len(lines) == len(table.TARGETS)
    assert all("| not run |" in line for line in lines)


def test_table_shows_the_recorded_figures(tmp_path):
    write_record(tmp_path, "module-cpu", module_rows({"forward": 0.24, "forward+backward": 0.47}))
    text = table.targets(tmp_path)
    line = line_of(text, "forward, C++ path", "float32 contiguous")
    assert "| at most 0.25 | 0.24 (0.23 to 0.25) | yes | A CPU, 1 thread | 2031-02-03 |" in line
    assert "| 0.47 (0.46 to 0.48) | no |" in line_of(text, "forward+backward, C++ path", "float32 contiguous")
    assert "not run" in line_of(text, "forward, C++ path", "float32 channels_last")
    assert "| tanet, cpp | 0.24 / 0.47 |" in table.figures(tmp_path)


def test_table_shows_the_worst_row_of_a_target(tmp_path):
    bandwidth = {"task": "bandwidth", "clips": 32, "contestant": "tanet, triton", "figure": "forward"}
    bandwidth["shape"] = "64x56x56"
    rows = [bandwidth | {"share": share, "range": [share, share]} for share in (0.9, 0.6, 0.8)]
    write_record(tmp_path, "module-a-gpu", module_rows({"forward": 1.0, "forward+backward": 1.0}) + rows, "A GPU")
    errors = [{"contestant": "tanet, cpp", "parameter": str(error), "error": error} for error in (0.001, 0.004, 0.002)]
    errors += [{"contestant": "published", "parameter": "0", "error": 0.3}]
    write_record(tmp_path, "gradients-cpu", errors)
    text = table.targets(tmp_path)
    assert "| at least 80% | 60% | no | A GPU |" in line_of(text, "aggregation, forward")
    assert "| at most 1% | 0.4% | yes |" in line_of(text, "gradients")


def test_a_record_counts_only_for_targets_of_its_device(tmp_path):
    rows = module_rows({"forward": 0.1, "forward+backward": 0.1})
    write_record(tmp_path, "module-a-gpu", rows, "A GPU")
    bandwidth = {"task": "bandwidth", "clips": 32, "contestant": "tanet, triton", "figure": "forward", "share": 0.9}
    write_record(tmp_path, "module-cpu", [*module_rows({"forward": 0.2, "forward+backward": 0.2}), bandwidth])
    text = table.targets(tmp_path)
    assert "| 0.20 (" in line_of(text, "forward, C++ path", "float32 contiguous")
    assert "not run" in line_of(text, "aggregation, forward")


def test_older_records_of_a_device_stand_in_a_table_of_their_own(tmp_path):
    for name, ratio in (("module-before-a-gpu", 0.4), ("module-a-gpu", 0.2)):
        row = table.TANET | {"task": "training step", "precision": "bfloat16", "clips": 64, "figure": "time"}
        row |= {"contestant": "TANet, compiled", "ratio": ratio}
        write_record(tmp_path, name.replace("module", "network"), [row], "A GPU")
    now, before = table.targets(tmp_path).split("Before, by older records:")
    assert "| 0.20 | yes |" in line_of(now, "TANet compiled / TSN eager", "64 clips")
    assert "| 0.40 | yes |" in line_of(before, "TANet compiled / TSN eager", "64 clips")
    now, before = table.figures(tmp_path).split("### Before")
    assert "0.20" in now and "0.40" not in now and "0.40" in before


def test_a_step_that_is_waited_for_is_no_target(tmp_path):
    row = table.TANET | {"task": "training step", "precision": "bfloat16", "clips": 64, "figure": "time, waited for"}
    row |= {"contestant": "TANet, compiled"}
    write_record(
        tmp_path, "network-bfloat16-a-gpu", [row | {"ratio": 9}, row | {"figure": "time", "ratio": 0.7}], "A GPU"
    )
    assert "| 0.70 | yes |" in line_of(table.targets(tmp_path), "TANet compiled / TSN eager", "64 clips")


def test_a_measurement_ends_early_but_not_before_two_rounds():
    times = common.measure_in_turns({"a": lambda: {"time": 1.0}}, rounds=9, seconds=0)
    assert times == {"a": {"time": [1.0, 1.0]}}


def test_a_part_is_written_between_its_two_comments_only():
    begin, end = pages.BEGIN.format("sizes"), pages.END.format("sizes")
    page = f"before\n{begin}\nold\n{end}\nbetween\n{pages.BEGIN.format('demo')}\nold\n{pages.END.format('demo')}\n"
    written = pages.with_part(pages.with_part(page, "sizes", "new"), "sizes", "new")
    assert written == page.replace("old", "new", 1)
    with pytest.raises(ValueError, match="the page needs the lines .*: speed"):
        pages.with_part(page, "speed", "new")


HEAD = {"date": "2000-01-01", "device": "a CPU", "threads": 2}


def write_demo(folder, tam: float):
    row = {
        "protocol": "k400-dense",
        "tam": {"top1": tam, "videos": "7 of 8"},
        "none": {"top1": 50.0, "videos": "7 of 8"},
    }
    (folder / "demo-cpu.json").write_text(json.dumps(HEAD | {"demo_kinetics": row}))


def test_the_demo_has_the_same_figures_on_both_pages_with_device_and_date(tmp_path):
    write_demo(tmp_path, tam=87.46)
    for text in (pages.short(tmp_path), pages.demo(tmp_path)):
        (line,) = [line for line in text.splitlines() if "demo_kinetics" in line]
        assert "87.5" in line and "50.0" in line and ("k400-dense" in line or "| 30 |" in line)
        assert "a CPU, 2 threads, 2000-01-01" in text


def test_the_readme_shows_the_first_published_figure_of_each_source():
    text = pages.short()
    for row in recipes.published_results("sthv1_8f", "sth-efficient"):
        assert (row.percent("top1") in text) == (row.source != "MMAction2 1.x")


def test_every_variant_of_the_ablation_is_on_the_page_with_its_spread(tmp_path):
    assert pages.ablations(tmp_path) == "Not run yet."
    variants = [(name, variant) for name in ablation.SETS for variant in ablation.MODULES]
    variants += [(ablation.SIZES_SET, variant) for variant in ablation.SIZES]
    cost = {"parameters": 1000, "macs": 2_000_000}
    rows = [{"dataset": name, "variant": variant, "top1": [90.0, 92.0], **cost} for name, variant in variants]
    (tmp_path / "ablation-cpu.json").write_text(json.dumps(HEAD | {"rows": rows}))
    text = pages.ablations(tmp_path)
    assert "a CPU, 2 threads, 2000-01-01" in text
    for _, variant in variants:
        (line, *again) = [line for line in text.splitlines() if line.startswith(f"| {variant} |")]
        assert "91.0 ± 1.4" in line and "2.0 M" in line and len(again) == (variant == "TAM")


@pytest.mark.slow  # starts a process that imports torch, decord and the whole package
def test_every_script_finds_the_names_that_it_imports():
    scripts = ", ".join(sorted(path.stem for path in BENCHMARKS.glob("*.py")))
    command = [sys.executable, "-c", f"import {scripts}"]
    finished = subprocess.run(command, cwd=BENCHMARKS, stderr=subprocess.PIPE, text=True)
    assert finished.returncode == 0, finished.stderr


def test_the_plan_of_make_gpu_names_scripts_that_exist():
    listed = subprocess.run(
        [sys.executable, BENCHMARKS / "gpu.py", "--dry-run"], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[0] for line in listed.splitlines()] == [part.name for part in gpu.PARTS]
    for part in gpu.PARTS:
        assert part.words[0] == "-m" or (BENCHMARKS.parent / part.words[0]).exists()


def test_make_gpu_finds_the_files_with_tests_that_need_a_gpu():
    wanted = set()
    for path in (BENCHMARKS.parent / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                names = {argument.arg for argument in node.args.args} | set(map(ast.unparse, node.decorator_list))
                if names & {"device", "needs_gpu", "computes"}:
                    wanted.add(str(path.relative_to(BENCHMARKS.parent)))
    assert wanted and set(gpu.gpu_test_files()) == wanted


def test_make_gpu_goes_on_after_a_failure_and_says_so(tmp_path, monkeypatch, capsys):
    endless = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(1)"
    parts = (
        gpu.Part("broken", ("-c", "raise SystemExit('no such GPU')"), 60),
        gpu.Part("endless", ("-c", endless), 1),
        gpu.Part("good", ("-c", "print('fine')"), 60),
    )
    monkeypatch.setattr(gpu, "PARTS", parts)
    monkeypatch.setattr(gpu, "LOGS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert gpu.main() == 1
    said = capsys.readouterr().out
    assert "no such GPU" in said
    outcomes = dict(re.findall(r"^(\w+) +(passed|failed|cut off) +\d", said, re.MULTILINE))
    assert outcomes == {"broken": "failed", "endless": "cut off", "good": "passed"}
    assert (tmp_path / "good.log").read_text() == "fine\n"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--parts", "good"])
    assert gpu.main() == 0


@pytest.mark.parametrize(
    "kernel, kind",
    [
        (
            "void at::native::batch_norm_backward_reduce_channels_last_kernel<4, c10::BFloat16, float, float>(",
            "BatchNorm",
        ),
        ("void at::native::(anonymous namespace)::max_pool_forward_nhwc<c10::BFloat16, int>(", "pooling"),
        ("sm90_xmma_dgrad_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc", "convolutions and matrix products"),
        ("nvjet_sm90_tst_64x64_64x13_1x2_h_bz_splitK_NTT", "convolutions and matrix products"),
        ("void at::native::vectorized_elementwise_kernel<8, at::native::CUDAFunctor_add<c10::BF", "ReLU, additions"),
        ("void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::TensorList", "optimizer"),
        ("correlate", "Triton kernels"),
        ("pool", "Triton kernels"),
        ("void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, ", "other"),
    ],
)
def test_kernels_of_a_step_are_told_apart_by_name(kernel, kind, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from step_kernels import kind_of

    assert kind_of(kernel) == kind


def test_what_one_temporal_module_adds(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from step_kernels import difference, rows_of

    rows = rows_of([("nvjet", 1.0), ("nvjet", 1.0)], 2, {"contestant": "TSN"})
    rows += rows_of([("nvjet", 1.0), ("pool", 3.0), ("mix", 5.0)], 1, {"contestant": "TANet"})
    added = {row["kind"]: (row["kernels"], row["milliseconds"]) for row in difference(rows, 2, {})}
    assert added == {
        "convolutions and matrix products": (0, 0),
        "Triton kernels": (1, 4),
        "all": (1, 4),
    }


@pytest.mark.parametrize("page, name", [part for part in pages.PARTS if part[1] != "sizes"], ids="-".join)
def test_the_pages_hold_what_the_records_say(page, name):
    assert pages.part_of((pages.ROOT / page).read_text(), name) == pages.PARTS[page, name](), REMAKE


@pytest.mark.slow  # builds every network
def test_the_page_holds_the_sizes_of_the_networks():
    assert pages.part_of((pages.ROOT / "docs/results.md").read_text(), "sizes") == pages.sizes(), REMAKE


def test_every_part_of_a_page_is_made_by_the_script():
    for path in [pages.ROOT / "README.md", *(pages.ROOT / "docs").glob("*.md")]:
        name = path.relative_to(pages.ROOT).as_posix()
        marked = re.findall(r"^<!-- made by benchmarks/pages.py: (\w+) -->$", path.read_text(), re.MULTILINE)
        assert sorted(marked) == sorted(part for page, part in pages.PARTS if page == name)

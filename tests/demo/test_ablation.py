"""The study of notebook 10: its trainings, and the tables of what they gave."""

import dataclasses

import pytest

from tanet import recipes
from tanet.demo import ablation
from tanet.demo.ablation import Cell


def test_every_cell_is_a_training_of_its_own_that_differs_from_the_preset_in_what_its_name_says():
    cells = list(ablation.cells())
    assert len({cell.folder for cell in cells}) == len(cells)
    for cell in cells:
        preset = dataclasses.asdict(recipes.get(cell.dataset))
        changed = {field: value for field, value in dataclasses.asdict(cell.recipe).items() if preset[field] != value}
        named = {**ablation.MODULES, **ablation.SIZES}[cell.variant]
        wanted = {field: tuple(value) if isinstance(value, list) else value for field, value in named.items()}
        assert {**changed, "workers": 0, "seed": cell.seed} == {**wanted, "workers": 0, "seed": cell.seed}


def test_all_seeds_of_a_set_are_for_all_of_its_variants():
    cells = list(ablation.cells())
    for dataset in ablation.SETS:
        for variant in ablation.MODULES:
            assert [cell.seed for cell in cells if (cell.dataset, cell.variant) == (dataset, variant)] == [0, 1, 2]


def test_an_unknown_variant_is_an_error_and_not_tam():
    with pytest.raises(KeyError, match="K = 9"):
        _ = Cell("demo_late", "K = 9", 0).recipe


def test_a_table_says_what_was_not_run_and_gives_a_spread_where_there_are_seeds():
    costs = {"parameters": 1234567, "macs": 8_900_000}
    rows = [
        {"dataset": "demo_late", "variant": "TAM", "top1": [100.0, 98.0, 96.0], **costs},
        {"dataset": "demo_near", "variant": "TAM", "top1": [99.5], **costs},
        {"dataset": "demo_near", "variant": "W alone", "top1": [90.0], **costs},
    ]
    lines = ablation.table(rows, ["TAM", "W alone", "V alone"], ["demo_late", "demo_near"]).splitlines()
    assert lines[2:] == [
        "| TAM | 98.0 ± 2.0 | 99.5 | 1,234,567 | 8.9 M |",
        "| W alone | not run | 90.0 | 1,234,567 | 8.9 M |",
    ]


def test_what_is_trained_is_tested_collected_and_not_trained_again(tmp_path, monkeypatch, something_root):
    """With one short epoch in place of the preset's ten."""
    short = recipes.get("demo_something").with_changes({"epochs": 1, "lr_steps": []})
    monkeypatch.setattr(ablation, "FOLDER", tmp_path)
    monkeypatch.setattr(ablation, "data_root", lambda recipe: something_root)
    monkeypatch.setattr(ablation.recipes, "get", lambda name: short)
    cell = Cell("demo_something", "shift (TSM)", 1)
    result = ablation.run_cell(cell)
    monkeypatch.setattr(ablation.train, "fit", None)  # a second training would be an error
    assert ablation.run_cell(cell) == result
    (row,) = ablation.table_rows()
    assert (row["dataset"], row["variant"]) == ("demo_something", "shift (TSM)")
    assert row["top1"] == [round(result["top1"], 2)] and [len(curve) for curve in row["curves"]] == [1]

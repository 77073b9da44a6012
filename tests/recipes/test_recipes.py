import dataclasses
import itertools
import json
import typing

import pytest

from tanet import cli, recipes, train
from tanet.cli import parse_changes
from tanet.model import ARCHITECTURES, TEMPORAL_MODULES
from tanet.recipes import Recipe, from_dict, from_json


@pytest.fixture
def recipe():
    return recipes.get("demo_kinetics")


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_preset_is_found_by_its_name_and_survives_json(name):
    recipe = recipes.get(name)
    assert recipe.name == name
    assert from_json(recipe.to_json()) == recipe
    assert json.loads(recipe.to_json()) == json.loads(json.dumps(dataclasses.asdict(recipe)))


def test_the_names_that_a_recipe_allows_are_those_that_exist():
    """`Recipe` spells them out as Literal, because recipes stand below the model and its modules."""
    assert set(typing.get_args(recipes.Arch)) == set(ARCHITECTURES)
    assert set(typing.get_args(recipes.Temporal)) == set(TEMPORAL_MODULES)
    assert typing.get_args(recipes.ProtocolName) == tuple(recipes.PROTOCOLS)
    assert all(protocol.name == name for name, protocol in recipes.PROTOCOLS.items())


def test_an_unknown_recipe_is_refused_and_the_known_ones_are_named():
    with pytest.raises(ValueError, match="'k400'.*demo_kinetics.*k400_8f.*sthv1_16f"):
        recipes.get("k400")


PUBLISHED = {
    "k400_8f": dict(
        epochs=100,
        lr_steps=(50, 75, 90),
        lr=0.01,
        lr_batch=64,
        weight_decay=1e-4,
        dropout=0.5,
        sampling="dense",
        num_frames=8,
        num_classes=400,
        protocols=("k400-dense",),
    ),
    "sthv1_8f": dict(
        epochs=50,
        lr_steps=(30, 40, 45),
        lr=0.01,
        lr_batch=64,
        weight_decay=1e-3,
        dropout=0.6,
        sampling="uniform",
        num_frames=8,
        num_classes=174,
        flip="swap",
        protocols=("sth-efficient", "sth-accurate"),
    ),
    "sthv1_16f": dict(
        epochs=50,
        lr_steps=(30, 40, 45),
        lr=0.0075,
        lr_batch=48,
        weight_decay=1e-3,
        dropout=0.6,
        sampling="uniform",
        num_frames=16,
        num_classes=174,
        flip="swap",
        batchnorm_statistics="mean",
    ),
    "k400_16f": dict(
        epochs=100,
        lr_steps=(50, 75, 90),
        weight_decay=1e-4,
        sampling="dense",
        num_frames=16,
        flip="plain",
        style="official",
    ),
    "sthv2_8f": dict(
        epochs=50,
        lr_steps=(30, 40, 45),
        lr=0.02,
        lr_batch=128,
        weight_decay=5e-4,
        dropout=0.5,
        sampling="uniform",
        num_frames=8,
        num_classes=174,
        flip="swap",
        style="official",
        protocols=("sth-accurate",),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers(name):
    common = dict(
        arch="tanet50",
        temporal="tam",
        init="imagenet",
        momentum=0.9,
        clip_grad_norm=20.0,
        short_side=256,
        crop_size=224,
        test_size=256,
        crop_scales=(1.0, 0.875, 0.75, 0.66),
        classifier_lr=5.0,
        warmup_epochs=0.0,
        precision="float32",
    )
    recipe = recipes.get(name)
    assert {key: getattr(recipe, key) for key in common | PUBLISHED[name]} == common | PUBLISHED[name]


@pytest.mark.parametrize(
    "name, rate_per_clip", [("k400_8f", 0.01 / 64), ("sthv1_16f", 0.01 / 64), ("sthv2_16f", 0.02 / 128)]
)
def test_16_frame_rates_follow_the_linear_scaling_rule(name, rate_per_clip):
    recipe = recipes.get(name)
    assert recipe.lr / recipe.lr_batch == pytest.approx(rate_per_clip)


def test_a_recipe_is_frozen(recipe):
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.epochs = 3


@pytest.mark.parametrize(
    "name, epochs, lr_steps",
    [
        ("k400_8f", 50, (25, 38, 45)),
        ("k400_8f", 200, (100, 150, 180)),
        ("k400_8f", 10, (5, 8, 9)),
        ("k400_8f", 4, (2, 3)),  # steps that fall together are one
        ("k400_8f", 2, (1,)),
        ("k400_8f", 1, ()),  # no whole epoch lies within
        ("sthv1_8f", 100, (60, 80, 90)),
        ("demo_kinetics", 3, (2,)),
    ],
)
def test_the_steps_of_the_rate_follow_the_epochs_at_the_same_fractions(name, epochs, lr_steps):
    changed = recipes.get(name).with_changes({"epochs": epochs})
    assert changed.lr_steps == lr_steps
    assert dataclasses.replace(changed, epochs=1, lr_steps=(), warmup_epochs=0.0) == dataclasses.replace(
        recipes.get(name), epochs=1, lr_steps=(), warmup_epochs=0.0
    )
    changed.check_schedule()


def test_every_change_of_the_epochs_gives_a_schedule_that_holds():
    for name in recipes.RECIPES:
        for epochs in range(1, 130):
            changed = recipes.get(name).with_changes({"epochs": epochs})
            changed.check_schedule()
            assert epochs == 1 or changed.lr_steps  # the rate falls


def test_a_shorter_training_warms_up_for_the_same_fraction_and_a_longer_one_no_longer():
    recipe = recipes.get("k400_8f").with_changes({"warmup_epochs": 4.0})
    assert recipe.with_changes({"epochs": 25}).warmup_epochs == 1.0
    assert recipe.with_changes({"epochs": 300}).warmup_epochs == 4.0
    assert recipe.with_changes({"epochs": 25, "lr_steps": [20]}).warmup_epochs == 4.0  # a schedule that is given stays


def test_what_is_given_does_not_follow():
    recipe = recipes.get("k400_8f")
    given = {
        "epochs": 50,
        "lr_steps": [20, 40],
        "warmup_epochs": 2.0,
        "sampling": "uniform",
        "protocols": ["k400-dense"],
    }
    changed = dataclasses.asdict(recipe.with_changes(given))
    assert all(changed[name] == (tuple(value) if isinstance(value, list) else value) for name, value in given.items())
    assert recipe.with_changes({"epochs": 100, "sampling": "dense"}) == recipe


def test_the_protocols_follow_the_sampling():
    assert recipes.get("k400_8f").with_changes({"sampling": "uniform"}).protocols == ("sth-efficient", "sth-accurate")
    assert recipes.get("sthv1_8f").with_changes({"sampling": "dense"}).protocols == ("k400-dense",)


def test_a_stored_recipe_is_read_as_it_was_stored():
    """Older versions left the steps and the protocols behind."""
    changes = {"epochs": 50, "sampling": "uniform"}
    stored = from_dict(dataclasses.asdict(recipes.get("k400_8f")) | changes)
    assert (stored.lr_steps, stored.protocols) == ((50, 75, 90), ("k400-dense",))
    assert from_json(stored.to_json()) == stored


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"epochs": 50, "lr_steps": [50, 75, 90]}, "lr_steps: 50 does not lie within a training of 50 epochs"),
        ({"lr_steps": [50, 100]}, "lr_steps: 100 does not lie within.*epochs from 1 to 99"),
        ({"lr_steps": [0, 50]}, "lr_steps: 0 does not lie within"),
        ({"warmup_epochs": 51.0}, "warmup_epochs: .*over 51 epochs.*at most 50"),
        ({"epochs": 5, "warmup_epochs": 4.0}, "warmup_epochs: .*over 4 epochs.*at most 2"),
        ({"lr_steps": [], "warmup_epochs": 101.0}, "warmup_epochs: .*at most 100"),
    ],
)
def test_a_schedule_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        recipes.get("k400_8f").with_changes(changes).check_schedule()


def test_differences_are_the_fields_of_both_recipes_that_differ():
    recipe = recipes.get("sthv1_8f")
    changed = dataclasses.replace(recipe, lr=0.5, protocols=("sth-accurate",))
    assert recipes.differences(recipe, changed) == {
        "lr": (recipe.lr, 0.5),
        "protocols": (("sth-efficient", "sth-accurate"), ("sth-accurate",)),
    }
    assert recipes.differences(recipe, recipe) == {}


def test_changes_of_a_preset_are_listed_in_any_style():
    for style in recipes.STYLES:
        changes = {"lr": 0.5, "lr_steps": (3,)}
        assert recipes.changes_of(recipes.get("sthv1_8f", style).with_changes(changes)) == changes
    assert recipes.changes_of(dataclasses.replace(recipes.get("k400_8f"), name="mine", lr=0.5)) == {}


def test_with_changes_changes_those_fields_alone(recipe):
    changed = recipe.with_changes({"epochs": 3, "lr_steps": [1, 2], "lr": 1})
    assert (changed.epochs, changed.lr_steps, changed.lr) == (3, (1, 2), 1.0)
    assert isinstance(changed.lr, float)
    assert dataclasses.replace(changed, epochs=recipe.epochs, lr_steps=recipe.lr_steps, lr=recipe.lr) == recipe
    assert recipe.epochs == recipes.get("demo_kinetics").epochs


def test_unknown_fields_are_named_and_the_known_ones_listed(recipe):
    with pytest.raises(ValueError, match="epoch, learning_rate.*there are.*epochs"):
        recipe.with_changes({"learning_rate": 1.0, "epoch": 3})
    with pytest.raises(ValueError, match="colour"):
        from_dict(dataclasses.asdict(recipe) | {"colour": "red"})


def test_missing_fields_are_named():
    with pytest.raises(ValueError, match="name, num_classes"):
        from_dict({"dataset": "kinetics"})


ILL_TYPED = [
    ("epochs", 3.0),
    ("epochs", "3"),
    ("epochs", True),
    ("epochs", None),
    ("lr", "fast"),
    ("lr", True),
    ("lr", [0.1]),
    ("name", 5),
    ("lr_steps", 5),
    ("lr_steps", [1.5]),
    ("lr_steps", "50"),
    ("crop_scales", ["a"]),
    ("protocols", "sth"),
    ("dataset", 1),
    ("init", None),
    ("temporal", []),
    ("seed", 0.5),
]
OUT_OF_RANGE = [
    ("epochs", 0),
    ("epochs", -1),
    ("lr", 0.0),
    ("lr", -1.0),
    ("dropout", 1.0),
    ("dropout", -0.1),
    ("num_frames", 0),
    ("num_classes", 0),
    ("workers", -2),
    ("seed", -1),
    ("weight_decay", -1e-4),
    ("clips_per_process", 0),
    ("clip_grad_norm", 0.0),
    ("lr_steps", (5, 3)),
    ("num_frames", 7),
    ("short_side", 40),
    ("test_size", 57),
    ("arch", "tanet18"),
    ("temporal", "nl"),
    ("style", "caffe"),
    ("dataset", "ucf101"),
    ("flip", "up"),
    ("param_groups", "mine"),
    ("precision", "float16"),
    ("memory_format", "nhwc"),
    ("sampling", "sparse"),
]
# Limits that are easy to forget.
SUBTLY_OUT_OF_RANGE = [
    ("crop_scales", ()),
    ("crop_scales", (1.2,)),
    ("crop_scales", (0.0,)),
    ("momentum", -0.1),
    ("momentum", 1.0),
    ("lr", float("nan")),
    ("lr", float("inf")),
    ("protocols", ()),
]


@pytest.mark.parametrize("field, value", ILL_TYPED + OUT_OF_RANGE + SUBTLY_OUT_OF_RANGE)
def test_ill_typed_and_impossible_values_are_refused_naming_the_field(recipe, field, value):
    with pytest.raises(ValueError, match=field):
        recipe.with_changes({field: value})
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(recipe, **{field: value})


@pytest.mark.parametrize(
    "field, value, line",
    [
        ("epochs", 0, "recipe field epochs must be greater than 0, got 0"),
        ("epochs", 3.0, "recipe field epochs must be int, got 3.0"),
        ("lr", float("nan"), "recipe field lr must be a finite number, got nan"),
        ("flip", "up", "recipe field flip must be 'none', 'plain' or 'swap', got 'up'"),
        ("lr_steps", 5, "recipe field lr_steps must be a list, got 5"),
        ("lr_steps", [3, "5"], "recipe field lr_steps[1] must be int, got '5'"),
        ("lr_steps", (5, 3), "recipe field lr_steps must ascend, got (5, 3)"),
        ("crop_scales", (1.2,), "recipe field crop_scales[0] must be less than or equal to 1, got 1.2"),
        ("protocols", (), "recipe field protocols must have at least one value, got ()"),
    ],
)
def test_an_error_is_one_plain_line(recipe, field, value, line):
    with pytest.raises(ValueError) as failure:
        recipe.with_changes({field: value})
    assert str(failure.value) == line


def test_several_problems_are_one_plain_line_each(recipe):
    with pytest.raises(ValueError) as failure:
        recipe.with_changes({"epoch": 3, "epochs": "3", "lr": -1, "protocols": ["sth", "k400"]})
    unknown, *wrong = str(failure.value).splitlines()
    assert unknown.startswith("unknown recipe field(s) epoch; there are: name, dataset")
    assert [line.split(" must ")[0] for line in wrong] == [
        "recipe field protocols[0]",
        "recipe field epochs",
        "recipe field lr",
    ]
    assert "pydantic" not in str(failure.value)


def test_json_that_is_no_object_is_refused():
    for text in ("[1]", "5", '"k400_8f"', "null"):
        with pytest.raises(ValueError, match="a recipe must be a JSON object"):
            from_json(text)


def test_uniform_sampling_allows_any_number_of_frames():
    assert recipes.get("demo_something").with_changes({"num_frames": 7}).num_frames == 7


def test_defaults_are_checked_as_well_as_given_values():
    assert isinstance(Recipe(name="x", dataset="kinetics", num_classes=2, crop_scales=[1]).crop_scales[0], float)


@pytest.mark.parametrize("style", recipes.STYLES)
@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_field_of_every_preset_has_a_source(name, style):
    texts = recipes.sources(name, style)
    assert list(texts) == [field.name for field in dataclasses.fields(Recipe)]
    for field, text in texts.items():
        origin, _, reason = text.partition(": ")
        assert origin.split(",")[0] in recipes.ORIGINS and reason, field


@pytest.mark.parametrize("style", recipes.STYLES)
@pytest.mark.parametrize("one, other", list(itertools.product(recipes.RECIPES, repeat=2)))
def test_different_values_of_a_field_do_not_share_a_source(one, other, style):
    """A preset that changes a value of the preset that it builds on must say why, and so must a style."""
    values, others = dataclasses.asdict(recipes.get(one)), dataclasses.asdict(recipes.get(other, style))
    shared = recipes.sources(one).items() & recipes.sources(other, style).items()
    assert {field for field, _ in shared if values[field] != others[field]} <= {"name"}


def test_the_source_table_shows_values_and_mixed_sources():
    for name in recipes.RECIPES:
        table = recipes.source_table(name)
        assert f"| `epochs` | `{recipes.get(name).epochs}` | {recipes.sources(name)['epochs']} |" in table.splitlines()
        assert table.startswith("Mixed: ") == (name in ("k400_16f", "sthv1_16f", "sthv2_16f"))
    assert "0.005" in recipes.source_table("sthv1_16f") and "without a script" in recipes.source_table("k400_16f")
    with pytest.raises(ValueError, match="no recipe 'k400'"):
        recipes.sources("k400")


def test_published_figures_are_those_of_their_sources():
    """Each row of the published tables: recipe, protocol, style, top-1, top-5."""
    rows = [(row.recipe, row.protocol, row.style, row.top1, row.top5) for row in recipes.published_results()]
    assert rows == [
        ("k400_8f", "k400-dense", "mmaction2", 76.28, 92.60),
        ("k400_8f", "k400-dense", "mmaction2", 76.22, 92.53),
        ("k400_8f", "k400-dense", "mmaction2", 76.25, 92.41),
        ("k400_8f", "k400-dense", "official", 76.1, 92.3),
        ("k400_16f", "k400-dense", "official", 76.9, 92.9),
        ("sthv1_8f", "sth-efficient", "mmaction2", 47.34, 75.72),
        ("sthv1_8f", "sth-accurate", "mmaction2", 49.58, 77.31),
        ("sthv1_8f", "sth-efficient", "mmaction2", 46.98, 75.75),
        ("sthv1_8f", "sth-accurate", "mmaction2", 49.71, 77.43),
        ("sthv1_8f", "sth-efficient", "official", 46.5, 75.8),
        ("sthv1_16f", "sth-efficient", "mmaction2", 49.05, 77.90),
        ("sthv1_16f", "sth-accurate", "mmaction2", 50.91, 79.13),
        ("sthv1_16f", "sth-efficient", "mmaction2", 48.24, 78.16),
        ("sthv1_16f", "sth-accurate", "mmaction2", 50.95, 79.28),
        ("sthv1_16f", "sth-efficient", "official", 47.6, 77.7),
        ("sthv2_8f", "sth-accurate", "official", 62.7, 88.0),
        ("sthv2_16f", "sth-accurate", "official", 64.6, 89.5),
    ]
    assert all(row.url.startswith("https://github.com/") for row in recipes.published_results())
    assert [row.top1 for row in recipes.published_results("sthv1_8f", "sth-accurate", "mmaction2")] == [49.58, 49.71]


def test_every_published_row_names_a_recipe_that_is_tested_by_its_protocol():
    for row in recipes.published_results():
        assert row.protocol in recipes.get(row.recipe, row.style).protocols


def test_every_preset_follows_the_code_base_that_publishes_a_figure_for_it():
    for name in recipes.RECIPES:
        if not name.startswith(("demo", "own")):
            assert recipes.published_results(name, style=recipes.get(name).style)


def test_every_published_row_names_the_settings_that_trained_its_network():
    settings = {(row.recipe, row.source): recipes.settings_of(row) for row in recipes.published_results()}
    batches = {key: (recipe.lr, recipe.lr_batch, recipe.clips_per_process) for key, recipe in settings.items()}
    assert batches["sthv1_16f", "MMAction2 0.x"] == (0.005, 32, 4)
    assert batches["sthv1_16f", "MMAction2 1.x"] == (0.0075, 48, 6)
    assert batches["sthv1_16f", "official"][:2] == batches["sthv1_8f", "official"][:2] == (0.01, 64)
    trained = {source: recipe.param_groups for (_, source), recipe in settings.items()}
    assert trained.pop("official") == trained.pop("MMAction2 0.x, authors' checkpoint") == "official"
    assert set(trained.values()) == {"mmaction2"}


@pytest.mark.parametrize("row", recipes.published_results(), ids=lambda row: f"{row.recipe} {row.source}")
def test_the_options_of_a_published_row_give_its_settings(row, monkeypatch):
    given = []
    monkeypatch.setattr(train, "launch", lambda recipe, *_, **__: given.append(recipe))
    cli.main(["train", "--recipe", row.recipe, *row.options.split(), "--data-root", "data", "--run-dir", "run"])
    assert given == [recipes.settings_of(row)]
    assert f"| `{row.recipe}` | {row.settings} |" in recipes.published_table()


def test_changes_on_a_command_line_are_json_or_words():
    changes = parse_changes(["lr=0.1", "lr_steps=[3, 4]", "temporal=tsm", "init=a=b.pth"])
    assert changes == {"lr": 0.1, "lr_steps": [3, 4], "temporal": "tsm", "init": "a=b.pth"}
    with pytest.raises(ValueError, match="lr: expected FIELD=VALUE"):
        parse_changes(["lr"])

from tanet import demo, recipes
from tanet.data import load_list
from tanet.demo import runs


def test_there_is_an_example_of_every_class_and_it_is_a_long_one(something_root, monkeypatch):
    monkeypatch.setattr(runs, "data_root", lambda recipe: something_root)
    videos = load_list(recipes.demo_something(), something_root, "val")
    examples = demo.examples("demo_something")
    assert tuple(examples) == videos.class_names
    frames = {}
    for sample in videos.samples:
        frames.setdefault(videos.class_names[sample.label], {})[sample.path] = len(sample.open())
    for name, path in examples.items():
        first = list(frames[name].values())[:3]
        assert frames[name][path] == max(first)


def test_the_notebooks_that_run_first_are_there():
    assert {*runs.LONGEST} < {path.name[:2] for path in (demo.ROOT / "notebooks").glob("*.ipynb")}

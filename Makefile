# Two commands from a bare clone: `make demo`, `make test`. Both need python3 (3.11 or newer) and a package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.installed-test
DISK_GB := 8
# To compile all modules would take pip half a minute. Python compiles those that are imported, and may keep them.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo lint check test lab notebooks bench data clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo:  ## make the demo data, train with and without TAM, test, run all notebooks
	$(MAKE) --jobs=2 verified-kinetics verified-something
	$(BIN)/python -m tanet.demo

.PHONY: verified-kinetics verified-something
verified-kinetics: data  ## list the demo videos in Kinetics-400's format, open every one
	$(BIN)/python -m data_scripts.kinetics400 lists --root data/demo_kinetics
	$(BIN)/python -m data_scripts.kinetics400 verify --root data/demo_kinetics

verified-something: data  ## list the demo videos in Something-Something's format, open every one
	$(BIN)/python -m data_scripts.something v1 lists --root data/demo_something
	$(BIN)/python -m data_scripts.something v1 verify --root data/demo_something

lint: $(TESTABLE)  ## check format and style of all Python files and notebooks
	$(BIN)/ruff format --check . && $(BIN)/ruff check .

# In several processes. The tests of a file stay together, and so do the cells of a notebook.
PYTEST_OPTIONS := -q --numprocesses=auto --dist=loadfile --no-loadscope-reorder
QUICK := -p no:nbval -m "not slow" tests

check: $(TESTABLE)  ## run the quick tests only: nothing that trains, kills or waits, no notebook
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) $(QUICK)

test: lint data check  ## check the style, run all tests, and the notebooks against their stored outputs
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m slow --durations=10 --nbval notebooks tests

OLDEST := .venv-oldest
OLDEST_PYTHON ?= python3.11

.PHONY: test-oldest
test-oldest: $(OLDEST)/.installed  ## run the quick tests with the oldest versions that pyproject.toml admits, in .venv-oldest
	$(OLDEST)/bin/python -m pytest $(PYTEST_OPTIONS) $(QUICK)

$(OLDEST)/.installed: pyproject.toml constraints-oldest.txt
	$(OLDEST_PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable '.[notebooks,test,timm,onnx]'
	@touch $@

lab: $(INSTALLED)  ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=notebooks

notebooks: $(INSTALLED)  ## run the notebooks in place and store their outputs, after changing them
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace notebooks/*.ipynb notebooks/solutions/*.ipynb

BENCHMARKS := module network gradients scaling loader train_e2e export

bench: $(INSTALLED)  ## measure speed on this machine (half an hour on a CPU), write the tables of the pages from the records
	set -e; for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py; done
	$(BIN)/python benchmarks/pages.py --write

.PHONY: gpu
gpu:  ## on a GPU, with the torch of PYTHON: its tests, the benchmarks, a training (8 minutes); options in GPU_OPTIONS
	$(PYTHON) benchmarks/gpu.py $(GPU_OPTIONS)

.PHONY: picture
picture: data  ## make the moving picture of the README, docs/clip.gif, with the demo network
	$(BIN)/python -m tanet.demo picture

.PHONY: site
site: $(TESTABLE)  ## make a site of the README, docs/ and the notebooks in site/, without a network
	rm -rf build/site site
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -c docs -d build/site/doctrees . build/site/html
	mv build/site/html site
	@echo "open site/index.html"

.PHONY: links
links:  ## print the links that open this repository in Binder and in Colab
	@$(PYTHON) docs/cloud.py

data: $(INSTALLED)  ## make the demo data only
	$(BIN)/python -m tanet.demo data

clean:  ## remove demo data and demo runs, keep the environment
	rm -rf data/demo_kinetics data/demo_something runs/demo

# What is missing on the machine is said in one line, before anything is installed.
$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found: install Python 3.11 or newer, or pass PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: $$($(PYTHON) --version) is too old: Python 3.11 or newer is needed; pass it as PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "make: $(PYTHON) has no venv module: install it (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	@test -d $(VENV)/lib || df -Pk . | awk 'NR == 2 && $$4 < $(DISK_GB) * 1048576 \
	  { print "make: " int($$4 / 1048576) " GB free here, $(DISK_GB) GB are needed for the environment"; exit 1 }'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) '.[notebooks]'
	@touch $@

$(TESTABLE): $(INSTALLED)
	$(INSTALL) '.[test,timm,onnx,site]'
	@touch $@

# Everything a person or a CI does here; `make help` lists it.
#   make setup PYTHON=python3.12        another interpreter (3.11 to 3.13)
#   make setup TORCH_INDEX=<url>        another place to look for PyTorch; empty: only pip's own
VENV := .venv
STAMP := $(VENV)/.installed
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& { echo $$p; break; }; done)
CPU_INDEX := https://download.pytorch.org/whl/cpu

.DEFAULT_GOAL := help
.PHONY: help setup demo ui test lint bench methods large chaos lock clean

help:  ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(STAMP)  ## install into .venv what requirements.lock names; a second time does nothing

demo: $(STAMP)  ## seeds to a trained and judged model, then the same again after bad cases
	@$(VENV)/bin/winnow demo

# Dagster reports its use unless this folder's dagster.yaml and this variable both tell it not to.
ui: export DAGSTER_HOME = $(CURDIR)
ui: export DAGSTER_DISABLE_TELEMETRY = yes
ui: $(STAMP)  ## the asset graph at http://127.0.0.1:3000
	@$(VENV)/bin/dg dev --host 127.0.0.1

# A test that syncs files waits for the device, half of the time there is, and learns nothing by it
# (tests/faults cuts the power on a disk of its own): what tests write lies in memory where 4 GB are
# free. And of the hundreds of processes that they start, none compiles what another one compiled.
SCRATCH = $(shell test "$$(df -Pm /dev/shm 2>/dev/null | awk 'NR == 2 {print $$4}')" -ge 4000 \
	2>/dev/null && echo /dev/shm || echo "$${TMPDIR:-/tmp}")

test: export PYTHONDONTWRITEBYTECODE :=
test: lint  ## lint, then every test, two at a time
	@work=$$(mktemp -d "$(SCRATCH)/wn-XXXXXX") && trap 'rm -rf "$$work"' EXIT INT TERM \
		&& TMPDIR=$$work $(VENV)/bin/python -m pytest -n 2 --dist worksteal

lint: $(STAMP)  ## ruff and pyright
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

bench: $(STAMP)  ## measure against peers and limits (hours)
	@for name in demo loop dedup curation score train judged llm intake review store; do echo "== benchmarks/$$name.py"; $(VENV)/bin/python benchmarks/$$name.py || exit 1; done

methods: $(STAMP)  ## train by every method on the demo's rows, into docs/benchmarks.md (15 minutes)
	@$(VENV)/bin/python benchmarks/methods.py --write

large: $(STAMP)  ## measure the store at ten million rows (hours)
	@$(VENV)/bin/python benchmarks/store.py --rows 1000000 10000000

chaos: MINUTES ?= 5
chaos: SEED ?= 1
chaos: $(STAMP)  ## kill a rebuild at random for MINUTES=5, then try every fault (or MOST=20 of each)
	@$(VENV)/bin/python -m tests.faults.chaos --minutes $(MINUTES) --seed $(SEED)
	@$(VENV)/bin/python -m tests.faults.storm $(if $(MOST),--most $(MOST))
	@WINNOW_EVERY_ORDER=yes $(VENV)/bin/python -m pytest tests/assets/test_arrival.py

# The packages left out (CUDA and its compiler) are pinned by torch itself, and only where its GPU
# build is installed; Windows is not supported.
lock: $(STAMP)  ## write requirements.lock anew from pyproject.toml
	@$(VENV)/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--quiet --upgrade --no-header --annotation-style line \
		| grep -vE "^(cuda|nvidia|triton)|== '(win32|emscripten)'" > requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:  ## remove .venv and caches; keeps .winnow (your data) and .dagster (its history)
	rm -rf $(VENV) build dist screenshots .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so an install that failed or was stopped is done again.
$(STAMP): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "Winnow needs Python 3.11, 3.12 or 3.13: install one, or make setup PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
		|| { echo "Winnow needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is not: make setup PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian, Ubuntu: apt-get install python3-venv)"; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || command -v g++ >/dev/null \
		|| { echo "fastText is built from source and needs a C++ compiler: apt-get install g++ (Linux) or xcode-select --install (macOS)"; exit 1; }
	@$(PYTHON) -c 'import pathlib, sysconfig; (pathlib.Path(sysconfig.get_paths()["include"]) / "Python.h").stat()' 2>/dev/null \
		|| { echo "fastText is built from source and needs the headers of $(PYTHON): apt-get install python3-dev"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --constraint requirements.lock --editable '.[dev]' $(TORCH_OPTION)
	@touch $@

# Without an NVIDIA driver the CPU build of PyTorch spares 3 GB. Where its index does not answer
# within 3 seconds, pip looks only where you configured it to.
define has_cpu_index
test "$$(uname -s)" = Linux -a ! -e /proc/driver/nvidia/version \
	&& timeout 3 $(PYTHON) -c 'import urllib.request; urllib.request.urlopen("$(CPU_INDEX)/torch/")' 2>/dev/null
endef
ifeq ($(origin TORCH_INDEX), undefined)
TORCH_OPTION = $(shell $(has_cpu_index) && echo --extra-index-url $(CPU_INDEX))
else
TORCH_OPTION = $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
endif

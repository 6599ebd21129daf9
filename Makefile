# Every target sets up what it needs: `make train` and `make test` work on a fresh machine that has
# Python >= 3.11 with venv, and a network. MPI=mpich takes MPICH instead of Open MPI.
PYTHON ?= python3
VENV   ?= .venv
MPI    ?= openmpi
RANKS  ?= 2

BIN   := $(VENV)/bin
READY := $(VENV)/.ready-$(MPI)
RUN   := $(BIN)/ringtrain run

.PHONY: setup train oracle test test-serial test-stand-in test-mpi test-gpu bench peers peer-horovod lint clean

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ringtrain needs Python >= 3.11; this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(MPI),dev]'
	touch $@

train: setup
	$(RUN) -n $(RANKS) models/mnist.py

# Beside NumPy, tests compare with PyTorch where the environment has it: the release whose numbers they expect.
oracle: setup
	$(BIN)/python -c 'import torch; assert torch.__version__.split("+")[0] == "2.13.0"' 2>/dev/null \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0

test: test-serial test-stand-in test-mpi

# Tests that start jobs, or threads as ranks, have the processors for themselves; the others share them.
JOBS := $(addprefix tests/,collectives cli launch models test_benchmarks.py test_docs.py docs/test_distributed_page.py)
SHARED := -n auto --maxprocesses 4 --dist worksteal
test-serial: setup
	$(BIN)/python -m pytest -q $(SHARED) --ignore=tests/mpi $(JOBS:%=--ignore=%)
	$(BIN)/python -m pytest -q $(JOBS)

# Every op, and what layers and optimisers are made of, on a strict stand-in for CuPy: what a GPU would refuse shows
# without one. (All of ENGINE runs on it, too, in three minutes.)
ENGINE := tests/engine tests/nn tests/optim tests/test_checkpoint.py
test-stand-in: setup
	$(BIN)/python -m pytest -q $(SHARED) --device stand-in tests/engine/test_ops.py tests/engine/test_inplace.py \
	  tests/engine/test_errors.py tests/nn/test_layers.py tests/nn/test_transformer.py tests/optim/test_optimizer.py

test-mpi: setup
	for n in 2 3 4; do $(RUN) -n $$n -m pytest -q --with-mpi --only-mpi tests/mpi || exit 1; done

# For a machine with an NVIDIA GPU and CuPy in the environment (pip install '.[cuda13]' or '.[cuda12]'). Two ranks
# share the GPU where there is one; with two GPUs or more they use NCCL.
test-gpu: setup
	$(BIN)/python -c 'import sys, cupy; sys.exit(not cupy.cuda.is_available() and "CuPy finds no GPU")'
	$(BIN)/python -m pytest -q --device cuda $(ENGINE)
	for n in 1 2; do $(RUN) -n $$n -m pytest -q --with-mpi --only-mpi tests/gpu || exit 1; done

bench: setup
	$(BIN)/python benchmarks/allreduce.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/optimizers.py
	$(BIN)/python benchmarks/ops.py
	$(BIN)/python benchmarks/scaling.py

# What benchmarks compare with, each in an environment of its own (about 2 GB).
peers: $(foreach peer,torch mxnet jax mpich mlx,.peers/$(peer)/bin/python)

# Compiles for some minutes: needs Debian's libopenmpi-dev, openmpi-bin, cmake and g++.
peer-horovod: .peers/horovod/bin/python

.peers/torch/bin/python:
	$(PYTHON) -m venv .peers/torch
	.peers/torch/bin/pip install --quiet --disable-pip-version-check numpy torch==2.13.0

.peers/mxnet/bin/python:
	$(PYTHON) -m venv .peers/mxnet
	.peers/mxnet/bin/pip install --quiet --disable-pip-version-check 'numpy<1.24' mxnet==1.9.1

.peers/jax/bin/python:
	$(PYTHON) -m venv .peers/jax
	.peers/jax/bin/pip install --quiet --disable-pip-version-check 'jax>=0.10,<0.11'

.peers/mpich/bin/python:
	$(PYTHON) -m venv .peers/mpich
	.peers/mpich/bin/pip install --quiet --disable-pip-version-check numpy mpi4py mpich

.peers/mlx/bin/python:
	$(PYTHON) -m venv .peers/mlx
	.peers/mlx/bin/pip install --quiet --disable-pip-version-check numpy 'mlx[cpu]'

.peers/horovod/bin/python:
	$(PYTHON) -m venv .peers/horovod
	.peers/horovod/bin/pip install --quiet --disable-pip-version-check 'setuptools<70' wheel 'numpy<1.24' mxnet==1.9.1 cloudpickle psutil pyyaml packaging cffi
	HOROVOD_WITH_MXNET=1 HOROVOD_WITH_MPI=1 HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 \
	  .peers/horovod/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --no-cache-dir horovod==0.28.1

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache

# For a newcomer: `make demo` and `make test`. Both set up .venv the first time.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

# Settings with which oneDNN, MKL and PyTorch do without the instructions of newer processors.
PROCESSORS := ONEDNN_MAX_CPU_ISA=AVX2 ONEDNN_MAX_CPU_ISA=AVX512_CORE \
  ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 ONEDNN_MAX_CPU_ISA=DEFAULT MKL_ENABLE_INSTRUCTIONS=AVX2 \
  ATEN_CPU_CAPABILITY=default

# Modules share what they train and draw: a worker takes neighbouring tests, and steals when it is idle.
PYTEST := -m pytest -q -n 2 --dist worksteal

# PyTorch's CPU build, for machines without a GPU: the address in the command that PyTorch's page "Start
# Locally" shows for Pip and CPU. Without it, pip takes the build with CUDA on Linux.
TORCH_INDEX ?=

# Constraints for the development environment; CI gives requirements-ci.txt, so that it installs what
# is known to pass. Without it, pip takes the newest versions within the bounds of pyproject.toml.
LOCK ?=

GIVEN = $(addprefix --constraint ,$(LOCK))
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# PyTorch from TORCH_INDEX, if that is given; what is installed next then finds it there.
TORCH = $(if $(TORCH_INDEX),$(PIP) $(GIVEN) --index-url "$(TORCH_INDEX)" torch torchvision)

.PHONY: demo docs test test-slow test-processors test-oldest test-newest newest lock test-api test-cluster fuzz \
  kills soak same-captions lint benchmark records reproduce clean help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 18

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "showattend needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv

.venv/ready: .venv/bin/python pyproject.toml
	@echo "Setting up .venv (PyTorch is large: a few minutes the first time)"
	$(TORCH)
	$(PIP) --editable .
	@touch $@

.venv/ready-dev: .venv/bin/python pyproject.toml $(LOCK)
	@echo "Setting up .venv for development (PyTorch is large: a few minutes the first time)"
	$(TORCH)
	$(PIP) $(GIVEN) --editable '.[dev]'
	@touch $@ .venv/ready

# In the environment that runs the package: the notebooks need PyTorch, and a second copy is gigabytes.
.venv/ready-docs: .venv/bin/python pyproject.toml
	@echo "Setting up .venv for the documentation (PyTorch is large: a few minutes the first time)"
	$(TORCH)
	$(PIP) --editable '.[docs]'
	@touch $@ .venv/ready

# What the slow tests need besides: they build the site, and compare with other libraries.
.venv/ready-slow: .venv/bin/python pyproject.toml $(LOCK)
	@echo "Setting up .venv for all tests (PyTorch is large: a few minutes the first time)"
	$(TORCH)
	$(PIP) $(GIVEN) --editable '.[dev,docs,peers]'
	@touch $@ .venv/ready .venv/ready-dev .venv/ready-docs

docs: .venv/ready-docs  ## the documentation site, in build/site; runs the notebooks (minutes)
	$(BIN)/python scripts/docs/build_site.py

demo: .venv/ready  ## caption a free photograph and draw where the model looked
	@$(BIN)/showattend attend assets/photos/chelsea.jpg --output demo/chelsea.png

test: .venv/ready-dev  ## the tests
	$(BIN)/python $(PYTEST) -m "not slow"

test-slow: .venv/ready-slow  ## all tests, the slow ones too; installs the extras docs and peers
	$(BIN)/python $(PYTEST)

test-processors: .venv/ready-dev  ## the tests as other x86 processors run them (six times as long)
	@failed=; for setting in $(PROCESSORS); do \
	  echo "$$setting"; env $$setting $(BIN)/python $(PYTEST) -m "not slow" || failed="$$failed $$setting"; \
	done; [ -z "$$failed" ] || { echo "failed with$$failed"; exit 1; }

.venv-oldest/ready: pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-oldest/bin/uv pip compile --quiet --python-version 3.11 --resolution lowest-direct \
	  --extra dev --output-file .venv-oldest/oldest.txt pyproject.toml
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python \
	  --requirement .venv-oldest/oldest.txt --editable .
	@touch $@

# Old packages warn of what newer ones will remove; that is not ours to mend.
test-oldest: .venv-oldest/ready  ## the tests with the oldest packages that pyproject.toml allows
	.venv-oldest/bin/python $(PYTEST) -m "not slow" \
	  -W ignore::DeprecationWarning -W ignore::PendingDeprecationWarning

soak: .venv/ready-dev  ## 10,000 mixed requests to the server: memory, wrong answers, latencies (an hour)
	$(BIN)/python scripts/soak.py assets/photos

same-captions: .venv/ready-dev  ## photographs alone, in batches, by PyTorch and ONNX: PHOTOS=folder
	$(BIN)/python scripts/same_captions.py $(or $(PHOTOS),assets/photos)

.venv-api/ready:
	$(PYTHON) -m venv .venv-api
	.venv-api/bin/python -m pip install --quiet --disable-pip-version-check schemathesis
	@touch $@

test-api: .venv/ready-dev .venv-api/ready  ## the server's API against its OpenAPI description
	$(BIN)/python scripts/try_api.py .venv-api/bin/schemathesis

# Ray, an S3 server and what they need are 600 MB, so they have an environment of their own.
.venv-cluster/ready: pyproject.toml
	$(PYTHON) -m venv .venv-cluster
	.venv-cluster/bin/python -m pip install --quiet --disable-pip-version-check \
	  --editable '.[dev,cluster]' 'moto[server]'
	@touch $@

test-cluster: .venv-cluster/ready  ## captioning with Ray: two machines, one killed, from S3 to S3
	.venv-cluster/bin/python -m pytest -q tests/export/cluster tests/cli/test_cluster_caption.py \
	  tests/data/test_shards.py

newest:
	[ -x .venv-newest/bin/python ] || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade \
	  --upgrade-strategy eager --editable '.[dev]'

test-newest: newest  ## the tests with the newest packages there are
	.venv-newest/bin/python $(PYTEST) -m "not slow"

lock: newest  ## write the versions of test-newest to requirements-ci.txt, which CI installs
	{ head -1 requirements-ci.txt; .venv-newest/bin/python -m pip freeze --exclude-editable | \
	  sed 's/+[a-z0-9.]*$$//'; } > requirements-ci.new && mv requirements-ci.new requirements-ci.txt

fuzz: .venv/ready-dev  ## 330,000 mutated files through everything that reads (seven minutes of one core of an AMD EPYC)
	$(BIN)/python -m tests.fuzz

kills: .venv/ready-dev  ## 200 kills each of training, captioning, writing into photographs, shards, parts of a job
	$(BIN)/python -m tests.kills

lint: .venv/ready-dev  ## style and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

benchmark: .venv/ready-dev  ## how fast it is, against the usual implementation (twelve minutes)
	$(BIN)/python scripts/benchmark/benchmark.py

records: .venv/ready-dev  ## the figures of the documents, measured again: DATA=folder of the data sets
	$(BIN)/python scripts/records/make_records.py --data $(or $(DATA),data)

reproduce: .venv/ready-dev  ## a small part of the figures, made twice and compared
	$(BIN)/python scripts/reproduce.py

clean:  ## remove what make has made
	rm -rf .venv .venv-oldest .venv-newest .venv-api .venv-cluster demo build dist

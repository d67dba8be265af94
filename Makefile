# The words everyone works with; `make help` lists them. Python 3.11 or newer: make PYTHON=python3.12 …
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
CODECS ?= modbus tls350 dart twowire lanfeng taxport ifsf ptsjson opcua
SECONDS ?= 60
ROUNDS ?= 200

.DEFAULT_GOAL := help
.PHONY: help setup run test soak fuzz check fix bench docs curve clean

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

setup: .venv/.installed ## install everything into .venv (once, and when its list changes)

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'pumpwatch needs Python 3.11 or newer: make PYTHON=python3.12 …' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo 'Python cannot make virtual environments: apt install python3-venv' >&2; exit 1; }
	@echo 'Installing pumpwatch into .venv (once; takes a few minutes) …'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --no-input --constraint constraints.txt --editable '.[all,dev]'
	@touch $@

# exec: Ctrl-C reaches the demo itself, and nothing is left behind it.
run: setup ## run the simulated county, the server and the dashboards (ARGS='…')
	@exec $(BIN)/pumpwatch demo $(ARGS)

# A file of tests stays in one process, so that what it starts for all of them is started once.
test: setup ## run the tests (ARGS='tests/core -k …')
	@$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

# Not part of `make test`, which does twenty rounds.
soak: setup ## kill the historian at random moments and count what is lost (ROUNDS=200)
	@KILL_ROUNDS=$(ROUNDS) $(BIN)/pytest --timeout 3600 tests/core/historian/test_historian_kill.py

# Not part of `make test`: atheris is for Linux, and each codec takes its minute.
fuzz: setup ## feed every codec with anything, a minute each (CODECS='dart ifsf' SECONDS=60)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-input 'atheris>=3'
	@mkdir -p var/fuzz
	@for codec in $(CODECS); do echo "$$codec …"; \
	  $(BIN)/python tests/fuzz/targets.py $$codec -max_total_time=$(SECONDS) -artifact_prefix=var/fuzz/$$codec- -verbosity=0 \
	  || exit 1; done

check: setup ## check format, style, types, floors and the example configuration
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pumpwatch check config/example.toml

fix: setup ## correct format and style where a tool can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## measure this machine (ARGS='…')
	@exec $(BIN)/pumpwatch bench $(ARGS)

docs: setup ## regenerate the reference pages and the JSON Schema
	@$(BIN)/python -m pumpwatch.settings .
	@$(BIN)/python docs/generate.py

curve: setup ## measure detection limits (ARGS='DIR/evaluation.json …' of pumpwatch evaluate --out DIR)
	@$(BIN)/python docs/delay_curve.py $(ARGS)

clean: ## delete what can be made again; var/ (data) stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

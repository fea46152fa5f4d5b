# Works with GNU make 3.81 (macOS) and newer. Everything a target needs is set up in .venv on first use.

PYTHONS  ?= python3.14 python3.13 python3.12 python3.11 python3
VENV     := .venv
BIN      := $(VENV)/bin
RUNTIME  := $(VENV)/.runtime-stamp
DEV      := $(VENV)/.dev-stamp
ARGS     ?=
WHAT     ?=
WORKERS  ?= 3 # on two cores: a third of the time of tests is waiting
UV       := $(VENV)/lock-tools/bin/uv
UV_PIN   := uv==0.13.8
BUILD    := 'hatchling>=1.27' 'editables>=0.5' # what an editable install builds with

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PIP_NO_INPUT := 1

# Wheels only, each checked against the lock: nothing is built, nothing unlisted comes along.
INSTALL := $(BIN)/python -m pip install -qq --no-deps --require-hashes --only-binary :all:

# A stamp holds the directory it was made for: a moved or copied checkout sets itself up again, and so
# does one whose Python has gone.
ifneq ($(shell $(BIN)/python -c 'import pip' 2>/dev/null && echo works),works)
.PHONY: $(VENV)/pyvenv.cfg $(RUNTIME)
else ifneq ($(shell cat $(RUNTIME) 2>/dev/null),$(CURDIR))
.PHONY: $(RUNTIME)
endif

.DEFAULT_GOAL := help
.PHONY: help demo run test quick soak check bench format lock release clean install uninstall

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(RUNTIME) ## demonstrate: a sandbox gateway, a daemon, tasks with every kind of end (options in ARGS="…")
	@$(BIN)/tracker demo $(ARGS)

run: $(RUNTIME) ## run the daemon: tracker serve (options in ARGS="…")
	@$(BIN)/tracker serve $(ARGS)

test: $(DEV) ## run every test but the soak tests (pytest options in ARGS="…")
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m 'not soak' $(ARGS)

quick: $(DEV) ## run the unit and contract tests: a minute (pytest options in ARGS="…")
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal tests/unit tests/contract $(ARGS)

soak: $(DEV) ## run the soak tests: minutes of faults and kills (pytest options in ARGS="…")
	@$(BIN)/python -m pytest -q -m soak tests/soak tests/property $(ARGS)

check: $(DEV) ## format, lint, types, import rules, route table and systemd units
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy
	@$(BIN)/python -m tests.contract.test_readme_routes --check
	@$(BIN)/python -m pytest -q tests/unit/test_imports.py tests/unit/test_units.py

# The script documents its variables at the top.
SETUP = PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' UNITDIR='$(UNITDIR)' CONFDIR='$(CONFDIR)' \
    PYTHON='$(PYTHON)' WHEEL='$(WHEEL)' WHEELS='$(WHEELS)' sh systemd/install.sh

install: ## install as a systemd service (PREFIX, DESTDIR, WHEEL, WHEELS: see systemd/install.sh)
	@$(SETUP) install

uninstall: ## remove the service; configuration and data stay
	@$(SETUP) uninstall

bench: $(DEV) ## measure the hot paths, or one of them (WHAT=callbacks|polls|lookups|hooks|archive|size|cli, options in ARGS="…")
	@$(BIN)/python -m tests.bench $(WHAT) $(ARGS)

format: $(DEV) ## format and fix the source
	@$(BIN)/python -m ruff check --fix-only .
	@$(BIN)/python -m ruff format .

lock: $(VENV)/pyvenv.cfg ## resolve the dependencies anew and rewrite requirements*.txt
	@test -x $(UV) || { $(BIN)/python -m venv $(VENV)/lock-tools && \
	    $(VENV)/lock-tools/bin/python -m pip install -qq '$(UV_PIN)'; }
	@$(call compile,requirements.txt,pyproject.toml)
	@printf '%s\n' $(BUILD) | $(call compile,requirements-build.txt,- -c requirements.txt)
	@$(call compile,requirements-dev.txt,pyproject.toml --extra dev -c requirements.txt -c requirements-build.txt)

# compile,<lock file>,<what to resolve>: one lock for Python 3.11 and newer on every system, naming no index.
compile = { echo "locking $(1)" >&2; UV_PYTHON_DOWNLOADS=never $(UV) pip compile --quiet --universal --upgrade \
    --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
    $(2) --output-file $(VENV)/lock.tmp && \
    { echo '\# Written by `make lock`.'; cat $(VENV)/lock.tmp; } > $(1) && rm $(VENV)/lock.tmp; }

release: $(DEV) ## check version and changelog, build wheel and sdist, create the tag; publishes nothing
	@set -e; fail() { echo "release: $$1" >&2; exit 1; }; \
	version=$$($(BIN)/python -c 'import runpy; print(runpy.run_path("tracker/__init__.py")["__version__"])'); \
	test -z "$$(git status --porcelain)" || fail 'the tree has uncommitted changes: commit or stash them'; \
	grep -q "^## \[$$version\] - 20[0-9-]*$$" CHANGELOG.md || \
	    fail "CHANGELOG.md has no heading '## [$$version] - DATE': add it, or set __version__ in tracker/__init__.py"; \
	sed -n '/^## \[Unreleased\]/,/^## \[[0-9]/p' CHANGELOG.md | grep -q '^- ' && \
	    fail "CHANGELOG.md has entries under [Unreleased]: move them below [$$version]"; \
	git rev-parse -q --verify "refs/tags/v$$version" >/dev/null && fail "the tag v$$version exists: set a new version"; \
	rm -rf dist; $(BIN)/python -m hatchling build; \
	git tag -a "v$$version" -m "tracker $$version"; \
	echo "created the tag v$$version; next: git push origin v$$version, and upload dist/"

clean: ## remove the virtual environment, caches and builds
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find tracker tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@old=; for python in $(PYTHONS); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    "$$python" -c 'import ensurepip, venv' 2>/dev/null || { old=$$python; continue; }; \
	    echo "setting up $(VENV) with $$("$$python" --version)"; \
	    exec "$$python" -m venv --clear $(VENV); \
	done; \
	if test -n "$$old"; then echo "$$old cannot make virtual environments: install the package python3-venv" >&2; \
	else echo "tracker needs Python 3.11 or newer, and none of these is: $(PYTHONS); install one, or name it: make PYTHONS=/path/to/python" >&2; fi; exit 1

$(RUNTIME): pyproject.toml requirements.txt requirements-build.txt | $(VENV)/pyvenv.cfg
	@rm -f $(RUNTIME) $(DEV)
	@echo "installing the locked runtime packages"
	@$(INSTALL) -r requirements.txt -r requirements-build.txt
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" > $(RUNTIME)

$(DEV): $(RUNTIME) requirements-dev.txt
	@echo "installing the locked development packages"
	@$(INSTALL) -r requirements-dev.txt
	@touch $(DEV)

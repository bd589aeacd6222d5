# Two commands do everything on a fresh machine: make run, make test.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin

.PHONY: run test lint docs lock audit sbom clean help

help:
	@echo "make run    install into $(VENV), then train and time all backends; ARGS='--model mnist-1conv'"
	@echo "make test   install, then run the tests; ARGS='-k digits'"
	@echo "make lint   install, then ruff and mypy"
	@echo "make docs   install, then build the documentation as a site, in site/"
	@echo "make lock   write requirements.lock: constraints.txt with the hashes of all wheels"
	@echo "make audit  look up known weaknesses of what requirements.lock pins"
	@echo "make sbom   write sbom.cdx.json: what requirements.lock pins, in CycloneDX"
	@echo "make clean  remove $(VENV) and site/"

run: $(VENV)/installed
	$(BIN)/python -m harness run --backend all $(ARGS)
	@echo "Next: source $(BIN)/activate, then python -m harness --help" >&2

# Two runs side by side: the tests of the frameworks, of which XLA's compilation takes most, and all
# others, which mostly wait for workers to start. 5 is pytest's code for "no test selected".
test: $(VENV)/installed-test
	@$(BIN)/python -m pytest tests/backends $(ARGS) > $(VENV)/backends.log 2>&1 & backends=$$!; \
	$(BIN)/python -m pytest tests --ignore=tests/backends $(ARGS); others=$$?; \
	wait $$backends; backends=$$?; cat $(VENV)/backends.log; \
	case $$backends-$$others in 0-0|0-5|5-0) ;; *) exit 1;; esac

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict harness

docs: $(VENV)/installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Byte code is made by importing what will be imported, side by side: pip would go through all of
# the frameworks' files, which takes a minute more, on two cores still most of one. Where Python is
# told to write none, as in many containers, it is written all the same: without, every run would
# compile the frameworks anew, and count that in their import seconds.
$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-compile -c constraints.txt -e '.[all]'
	@for modules in keras "torch, harness.run.worker" "flax.nnx, optax, scipy.special"; do \
	  PYTHONDONTWRITEBYTECODE= $(BIN)/python -c "import $$modules" 2>/dev/null & done; wait
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install -c constraints.txt -e '.[all,test,docs]'
	touch $@

# Tools that look at what is installed have an environment of their own, as what they need is no part of it.
lock: $(VENV)-supply/installed
	$(VENV)-supply/bin/python .ci/lock.py constraints.txt requirements.lock

audit: $(VENV)-supply/installed
	$(VENV)-supply/bin/pip-audit --strict --require-hashes --disable-pip -r requirements.lock

sbom: $(VENV)-supply/installed
	$(VENV)-supply/bin/cyclonedx-py requirements --pyproject pyproject.toml --of JSON -o sbom.cdx.json requirements.lock

$(VENV)-supply/installed: .ci/supply.txt
	$(PYTHON) -m venv $(VENV)-supply
	$(VENV)-supply/bin/python -m pip install -r .ci/supply.txt
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-supply site

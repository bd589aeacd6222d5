# Two commands do everything on a fresh machine: make run, make test.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin

.PHONY: run test lint clean help

help:
	@echo "make run    install into $(VENV), then train and time all backends; ARGS='--model mnist-1conv'"
	@echo "make test   install, then run the tests; ARGS='-k digits'"
	@echo "make lint   install, then ruff and mypy"
	@echo "make clean  remove $(VENV)"

run: $(VENV)/installed
	$(BIN)/python -m harness run --backend all $(ARGS)

test: $(VENV)/installed-test
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict harness

# Byte code is made by importing what will be imported, side by side: pip would go through all of
# the frameworks' files on one core, which takes a minute more.
$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-compile -c constraints.txt -e '.[all]'
	@for module in torch keras flax.nnx; do $(BIN)/python -c "import $$module" 2>/dev/null & done; wait
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install -c constraints.txt -e '.[all,test]'
	touch $@

clean:
	rm -rf $(VENV)

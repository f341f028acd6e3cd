# Needs only make and Python 3.11 or newer. Everything is installed in .venv, once:
# the stamps in it are younger than settings.ini and setup.py until those change.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --disable-pip-version-check $(if $(CI),--quiet,)
# Colab runs Python 3.13; where there is none, any that the package allows.
COLAB = .venv-colab
COLAB_PYTHON ?= $(shell python3.13 -c 'import sys; print(sys.executable)' 2>/dev/null || echo $(PYTHON))

.PHONY: help demo test browser-test colab-test lab site reproduce links readme contact bank bench clean
help:
	@echo "make demo     a gallery of pictures made from sounds, and sounds made from pictures: demo/index.html"
	@echo "make test     every check: notebooks clean and exported, lessons run, pytest"
	@echo "make colab-test [ONLY=20]   every notebook as its Colab badge opens it, in .venv-colab (a copy of Colab's versions)"
	@echo "make browser-test   the explorer in a real JupyterLab and Chromium (apt install chromium); AVGEN_SCREENSHOTS=DIR keeps pictures of the page"
	@echo "make lab      JupyterLab at the first lesson"
	@echo "make site     the lessons as pages that open without a server: site/index.html"
	@echo "make reproduce PAPER=chen2017|cmcgan2018|l3net2017|avts2018 BUDGET=test|cpu|gpu [DATA=DIR]   a paper's experiments, and its ledger: runs/chen2017/cpu/chen2017.html"
	@echo "make bench    speed beside librosa, torchaudio and a plain training loop"
	@echo "make links    rewrite every badge and link from user and repo in settings.ini"
	@echo "make readme   rewrite the README's tables from the lessons and docs/*.jsonl"
	@echo "make contact  redraw the contact sheet of the built-in orchestra: docs/players.jpg"
	@echo "make bank     render the note bank again (needs fluidsynth and fluid-soundfont-gm)"
	@echo "make clean    remove what was built, .venv too"

demo: $(VENV)/.runtime
	$(BIN)/avgen demo --out demo

test: $(VENV)/.dev
	@$(BIN)/python scripts/run_tests.py

colab-test: $(COLAB)/.colab
	@$(COLAB)/bin/python scripts/colab_test.py $(ONLY)

browser-test: $(VENV)/.dev
	$(BIN)/python -m pytest -m browser -q --durations=5

lab: $(VENV)/.dev
	$(BIN)/jupyter lab nbs/00_show.ipynb

site: $(VENV)/.dev
	@$(BIN)/python scripts/make_site.py

PAPER ?= chen2017
BUDGET ?= cpu
reproduce: $(VENV)/.dev
	$(BIN)/python scripts/reproduce.py $(PAPER) --budget $(BUDGET) $(if $(DATA),--data $(DATA)) $(if $(PUBLISH),--publish)

bench: $(VENV)/.runtime
	$(BIN)/python -m benchmarks

links: $(VENV)/.dev
	$(BIN)/python scripts/links.py
	$(BIN)/python scripts/readme_tables.py
	$(BIN)/nbdev_export

readme: $(VENV)/.runtime
	$(BIN)/python scripts/readme_tables.py

contact: $(VENV)/.runtime
	$(BIN)/python scripts/contact_sheet.py

bank: $(VENV)/.runtime
	$(BIN)/python scripts/render_bank.py

clean:
	rm -rf $(VENV) $(COLAB) demo runs site build dist avgen_nb.egg-info .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "avgen_nb needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "python -m venv failed: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
	@touch $@

# pyproject.toml is not named here: nbdev_export writes it anew each time, and it holds no requirement.
$(VENV)/.runtime: $(VENV)/.made settings.ini setup.py
	@echo "Installing avgen_nb (the first time some minutes: PyTorch is large)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.made settings.ini setup.py
	@echo "Installing avgen_nb and what its tests need (the first time some minutes: PyTorch is large)"
	@$(PIP) -e '.[dev]'
	@touch $(VENV)/.runtime $@

# What pip says is installed before any notebook has run: scripts/colab_test.py takes out what is added to it.
$(COLAB)/.colab: scripts/colab-requirements.txt
	@echo "Installing what Colab has in $(COLAB) (the first time some minutes: PyTorch is large)"
	@$(COLAB_PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "What Colab has needs Python 3.11 to 3.13: make COLAB_PYTHON=/path/to/python3.13 colab-test"; exit 1; }
	@$(COLAB_PYTHON) -m venv --clear $(COLAB)
	@$(COLAB)/bin/python -m pip install --disable-pip-version-check --quiet --requirement $<
	@$(COLAB)/bin/python -m pip freeze --all > $@

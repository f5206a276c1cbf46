# Two commands do everything on a fresh clone: `make run` and `make test`.
# Needed on the machine: Python 3.11 or later, and make. Docker, or Java 17 with Maven, is used
# where it is there.

PYTHON ?= python3
BIN := .venv/bin

# SERVICES=docker, jvm, pypi or given forces one way to have Kafka and DynamoDB: make run SERVICES=jvm
export SERVICES ?=

.PHONY: run demo test check bench capacity availability freshness memory sweep storm mutate docs audit dist lock lock-jars clean example reconnect
.DEFAULT_GOAL := check

.venv/installed: pyproject.toml worker/pyproject.toml requirements/dev.txt
	$(PYTHON) -m venv --clear .venv && $(BIN)/pip install -q --require-hashes -r requirements/dev.txt
	PYTHONWARNINGS=ignore $(BIN)/pip install -q --no-deps --no-build-isolation -e . -e ./worker && touch $@

run: .venv/installed  ## Kafka, DynamoDB, `poste init` and one worker; Ctrl-C stops them all
	@$(BIN)/python -m local.run

example: .venv/installed  ## a chat over it, in the browser; Ctrl-C stops all
	@$(BIN)/python -m local.example

demo: .venv/installed  ## the story in two minutes, checked
	@$(BIN)/python -m benchmarks.demo

# Most tests wait for a session, a service or a child: four at a time keep two cores busy.
JOBS ?= 4
test: .venv/installed  ## the whole suite, on the real services
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: .venv/installed  ## format, lint, types, and all tests that need no service
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy
	$(BIN)/python -m pytest -q -n $(JOBS) -m "not services"

PARTS ?=
bench: .venv/installed  ## what it costs, beside what else one would write: make bench PARTS=contenders
	@$(BIN)/python -m benchmarks $(PARTS)

capacity: .venv/installed  ## the tables of docs/capacity.md, written again
	@$(BIN)/python -m benchmarks.capacity_page

availability: .venv/installed  ## how long a mailbox's writes pause when something goes away
	@$(BIN)/python -m benchmarks.availability

freshness: .venv/installed  ## how long a proof takes that nothing is on its way, and what it costs
	@$(BIN)/python -m benchmarks.freshness

memory: .venv/installed  ## what a worker holds within 256, 512 and 1,024 MiB, in a cgroup of each
	@$(BIN)/python -m benchmarks.memory

sweep: .venv/installed  ## every fault and every crash, at the 1st call, the 2nd, ...
	$(BIN)/python -m tests.sweeps

SECONDS ?= 600
SEED ?= $(shell date +%s)
storm: .venv/installed  ## all faults at once, from a seed: make storm SECONDS=600 SEED=7
	$(BIN)/python -m tests.storm --seconds $(SECONDS) --seed $(SEED)

MESSAGES ?= 1200
reconnect: .venv/installed  ## people come and go, workers and gateways are killed: a gateway that waits for proof, and one that does not
	$(BIN)/python -m tests.reconnect --messages $(MESSAGES) --seed $(SEED)

MODULES ?=
.venv/mutate: .venv/installed requirements/mutate.txt
	$(BIN)/pip install -q --require-hashes -r requirements/mutate.txt && touch $@
mutate: .venv/mutate  ## do the unit tests of the pure modules notice each changed operator: make mutate MODULES=reading
	nice -n 19 $(BIN)/python -m tests.mutation $(MODULES)

.venv/docs: .venv/installed requirements/docs.txt
	$(BIN)/pip install -q --require-hashes -r requirements/docs.txt && touch $@
docs: .venv/docs  ## the documents and the API reference as pages, in .cache/docs/site
	$(BIN)/python -m local.documents && NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.venv/audit: .venv/installed requirements/audit.txt
	$(BIN)/pip install -q --require-hashes -r requirements/audit.txt && touch $@
audit: .venv/audit  ## known vulnerabilities of every locked package; a package without data is a failure
	$(BIN)/pip-audit --strict --require-hashes --disable-pip $(patsubst %,-r %,$(wildcard requirements/*.txt))

# Of the public index, whatever this machine is set to add to it.
LOCK := PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS= $(BIN)/pip-compile -q --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header
# What the tests of deploy/ need, and skip without. The schemas are apart from .venv: a package of
# theirs has a plugin for pytest, which does not start.
.cache/schemas/installed: requirements/deploy.txt .venv/installed
	rm -rf .cache/schemas
	$(BIN)/pip install -q --require-hashes --target .cache/schemas -r requirements/deploy.txt && touch $@
.cache/bin/helm:
	GOBIN=$(CURDIR)/.cache/bin go install -ldflags="-s -w" helm.sh/helm/v3/cmd/helm@v3.22.0
# Not by `go install`, which refuses a module that replaces another, as OpenTofu does with hcl.
.cache/bin/tofu:
	rm -rf .cache/tofu && mkdir -p .cache/tofu .cache/bin && cd .cache/tofu && go mod init tofu && \
	go mod edit -require=github.com/opentofu/opentofu@v1.12.6 \
		-replace=github.com/hashicorp/hcl/v2@v2.20.1=github.com/opentofu/hcl/v2@v2.20.2-0.20251021132045-587d123c2828 && \
	go build -mod=mod -ldflags="-s -w" -o ../bin/tofu github.com/opentofu/opentofu/cmd/tofu

lock: .venv/installed  ## the hash-locked requirement files, from both pyproject.toml
	mkdir -p .cache
	$(BIN)/python -m local.lock_worker > .cache/worker.in
	$(BIN)/python -m local.lock_worker msk-iam > .cache/image.in
	$(LOCK) -o requirements/worker.txt pyproject.toml .cache/worker.in
	$(LOCK) --extra dev -o requirements/dev.txt -c requirements/worker.txt pyproject.toml .cache/worker.in
	$(LOCK) --only-build-deps --build-deps-for wheel -o requirements/build.txt -c requirements/dev.txt pyproject.toml
	$(LOCK) -o requirements/image.txt -c requirements/dev.txt pyproject.toml .cache/image.in
	$(LOCK) --extra mutate -o requirements/mutate.txt -c requirements/dev.txt pyproject.toml
	$(LOCK) --extra deploy -o requirements/deploy.txt -c requirements/dev.txt pyproject.toml
	$(LOCK) -o requirements/java.txt requirements/java.in
	$(LOCK) -c requirements/dev.txt -o requirements/docs.txt requirements/docs.in
	$(LOCK) -c requirements/dev.txt -o requirements/audit.txt requirements/audit.in

dist: .venv/installed  ## the wheels of both distributions, in dist/
	rm -rf dist build worker/build
	$(BIN)/pip wheel -q --no-deps --no-build-isolation --wheel-dir dist . ./worker
	rm -rf build worker/build

lock-jars: .venv/installed  ## the jars of local/*.pom.xml by hash; needs Maven
	$(BIN)/python -m local.lock_jars

clean:
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist worker/build *.egg-info worker/*.egg-info

# Every target first brings .venv up to requirements.lock; offline once it is there.
PY := .venv/bin/python
STAMP := .venv/.ready
PACKAGES := activation benchmarks commands comparison ctwa ctwa_attribution ingestion keeping orchestration publishing simulator

.PHONY: help setup setup-spark wheel demo test test-deep test-browser test-spark lint lint-python lint-sql fmt docs docs-site dbt-docs dev \
	bench ui-tour report-vendor lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       the whole product on a synthetic company, checked against its truth"
	@echo "make test       the tests (about 20 minutes)"
	@echo "make dev        Dagster UI, daemon and receiver on this machine"
	@echo "make wheel lint fmt docs docs-site dbt-docs bench test-deep test-browser test-spark ui-tour lock clean"

# Compiled here: services may write their data folders only, and would compile at every start.
setup: $(STAMP)
	@$(PY) -m compileall -qq $(PACKAGES)

$(STAMP): requirements.lock pyproject.toml Makefile
	@test -x $(PY) || { echo "creating .venv"; python3 -m venv .venv; }
	@echo "installing pinned dependencies (a few minutes the first time)"
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock
	@$(PY) -m uv pip install --quiet --python $(PY) --require-hashes -r requirements.lock
	@$(PY) -m uv pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@$(PY) -m compileall -qq -j 0 -x '/tests?/' .venv/lib/python3*/site-packages || true
	@touch $@

# For CTWA_ENGINE=spark (docs/scale-out.md): 500 MB, so only where it is wanted.
setup-spark: setup
	@$(PY) -m uv pip install --quiet --python $(PY) --no-deps --require-hashes -r requirements-spark.lock

# All of the product below one name (docs/decisions/0007), in dist/.
wheel: setup
	@$(PY) -m hatchling build --target wheel

# A company as any, which one looks at; then that of the tests, for the comparison alone.
demo: setup
	@.venv/bin/ctwa demo
	@echo; echo "The same with hostile names and every edge case:"; echo
	@.venv/bin/ctwa demo --nasty

test: setup
	@$(PY) -m pytest -m "not deep and not browser and not spark" -n 3 --dist loadfile --no-loadscope-reorder

test-deep: setup
	@$(PY) -m pytest -m "not browser and not spark" -n 2 --dist loadfile --no-loadscope-reorder

# The site's snippet and the report in headless Chromium (Debian's package chromium).
test-browser: setup
	@test -x /usr/bin/chromium || { echo "install chromium first: apt-get install chromium"; exit 1; }
	@$(PY) -m uv pip install --quiet --python $(PY) --group ui
	@$(PY) -m pytest -m browser tests/browser

# A master, two workers, Connect and its catalogue in PostgreSQL on loopback, against DuckDB.
test-spark: setup-spark
	@command -v java >/dev/null || { echo "install Java first: apt-get install openjdk-17-jre-headless"; exit 1; }
	@$(PY) -m pytest -m spark tests/spark

dev: setup
	@.venv/bin/ctwa dev

bench: setup
	@.venv/bin/ctwa bench

# Both parts at the same time; each prints when it is done.
lint: setup
	@$(MAKE) --no-print-directory --jobs=2 --output-sync lint-python lint-sql

lint-python: setup
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

lint-sql: setup
	@.venv/bin/sqlfluff lint dbt_project/models dbt_project/macros dbt_project/tests

fmt: setup
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .
	@.venv/bin/sqlfluff fix dbt_project/models dbt_project/tests

# The generated parts of the docs: which test proves which edge case, metrics, data dictionary.
docs: setup
	@$(PY) -m docs.generate

# The pages of docs/ as a site with search, in build/site; a broken link is an error.
docs-site: docs
	@$(PY) -m uv pip install --quiet --python $(PY) --group docs
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --strict --clean
	@echo "written: build/site/index.html"

# dbt's own docs in one file that opens offline; target `lint` opens no warehouse.
dbt-docs: setup
	@.venv/bin/dbt --quiet docs generate --static --empty-catalog --target lint \
		--target-path build/dbt-docs
	@echo "written: build/dbt-docs/static_index.html"

# The report's libraries, again from npm at the versions of package.json (needs node and npm).
report-vendor:
	@publishing/report/vendor/build.sh

# The Dagster UI in headless Chromium (Debian's package chromium), after `make demo`.
ui-tour: setup
	@$(PY) -m uv pip install --quiet --python $(PY) --group ui
	@$(PY) tests/ui/tour.py

# Pinned versions with their hashes and without addresses: no index, no annotations. Spark's lock
# holds only what the other does not.
LOCK := $(PY) -m uv pip compile --quiet --python-version 3.11 --no-header --no-annotate --no-emit-index-url \
	--no-emit-find-links --generate-hashes
lock:
	@$(LOCK) --extra metrics --extra postgres --group dev --upgrade pyproject.toml -o requirements.lock
	@$(LOCK) --extra spark --upgrade --constraint requirements.lock \
		$$(sed -n 's/^\([a-z0-9._-]*\)==.*/--no-emit-package \1/p' requirements.lock) pyproject.toml -o requirements-spark.lock

clean:
	rm -rf .venv data build target logs

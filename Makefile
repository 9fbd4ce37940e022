# Two commands are all a newcomer needs: `make run` and `make test`. Each does all of its own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CODE := salam e2ee turn_client sfu ingest transcode signaling bench salam_server web/__init__.py tests examples fuzz scripts setup.py

.DEFAULT_GOAL := help
.PHONY: help setup docs run demo test coverage lint format fuzz mutants bench vendor lock screenshots clean

help:
	@echo "make run          set up what is needed and play the demo in this terminal (Ctrl-C stops it)"
	@echo "make test         set up what is needed, system programs included, and run every check and test"
	@echo "make setup        set up what is needed to run, and start nothing"
	@echo "make docs         write the generated parts of docs/ again"
	@echo "make coverage     hold the tests of e2ee/ to every line and branch"
	@echo "make lint         style and types alone"
	@echo "make fuzz         throw mutated input at every parser, SECONDS (60) for each"
	@echo "make mutants      change the code of end-to-end encryption in small ways, and list what no test notices"
	@echo "make bench        measure the media plane's cost per packet, and encryption and relaying beside other libraries"
	@echo "make screenshots  make the pictures in docs/ again"
	@echo "make lock         resolve the dependencies again into requirements/"
	@echo "make clean        remove everything that make has made"

run: $(VENV)/.run vendor
	@$(BIN)/salam demo

demo: run

# For those who run `salam` themselves: the same set-up, and nothing started.
setup: $(VENV)/.run vendor
	@echo "salam: ready; try $(BIN)/salam --help"

docs: $(VENV)/.run
	$(BIN)/python scripts/docs.py

# What only computes shares the cores; what has real peers in real time runs by itself, so that no two of them starve each other.
COMPUTING := tests/e2ee tests/project tests/salam tests/transcode

test: $(VENV)/.test
	@$(MAKE) --no-print-directory lint
ifdef PYTEST_ARGS
	@$(BIN)/python -m pytest $(PYTEST_ARGS)
else
	@$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile $(COMPUTING)
	@$(BIN)/python -m pytest $(COMPUTING:%=--ignore=%)
endif

# The random runs of whole devices are left out: they are the longest, and reach nothing that the other tests do not.
coverage: $(VENV)/.test
	$(BIN)/python -m pytest tests/e2ee --ignore=tests/e2ee/test_parties.py --ignore=tests/e2ee/test_parties_groups.py \
		--cov=e2ee --cov-branch --cov-fail-under=100 --cov-report=term-missing:skip-covered

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE)

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

SECONDS ?= 60
fuzz: $(VENV)/.test
	$(BIN)/python -m fuzz --seconds $(SECONDS)

mutants: $(VENV)/.mutants
	$(BIN)/python scripts/mutants.py

bench: $(VENV)/.test
	$(BIN)/python -m sfu.plane.measure
	$(BIN)/salam bench e2ee --against vodozemac,olm,doubleratchet
	$(BIN)/salam bench turn --against aioice

screenshots: $(VENV)/.test
	SALAM_SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/end_to_end/test_screenshots.py

# What the pages take from npm: hls.js, and for encryption Argon2id and ML-KEM. Without npm the page uses the browser's own HLS, and backups
# with a passphrase are not possible, so its absence is no error.
vendor:
	@if [ -f web/vendor/hls.mjs ] && [ -f web/vendor/argon2.mjs ]; then :; \
	elif command -v npm >/dev/null 2>&1; then \
		echo "salam: installing hls.js, hash-wasm and noble-post-quantum from npm into web/vendor/"; \
		npm ci --prefix web --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error \
			&& npm run --prefix web --silent vendor \
			|| echo "salam: they could not be had; the watch page uses the browser's own HLS"; \
	else echo "salam: npm is not here; the watch page uses the browser's own HLS"; fi

lock: $(VENV)/.test
	$(BIN)/python scripts/lock.py

clean:
	rm -rf $(VENV) web/node_modules web/vendor build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .salam

$(VENV)/.run: requirements/run.txt pyproject.toml setup.py
	@sh scripts/venv.sh $(PYTHON) $(VENV) run
	@touch $@

$(VENV)/.test: requirements/test.txt pyproject.toml setup.py scripts/test-programs.sh web/package-lock.json
	@sh scripts/test-programs.sh
	@sh scripts/venv.sh $(PYTHON) $(VENV) test
	@if command -v npm >/dev/null 2>&1; then \
		echo "salam: installing hls.js and TypeScript from npm into web/node_modules/"; \
		npm ci --prefix web --ignore-scripts --no-audit --no-fund --loglevel=error && npm run --prefix web --silent vendor; \
	fi
	@touch $(VENV)/.run $@

$(VENV)/.mutants: requirements/mutants.txt $(VENV)/.test
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/mutants.txt
	@touch $@

.DEFAULT_GOAL := help
.PHONY: help build demo test race root e2e bench soak fuzz lint fmt generate check clean peers

GOLANGCI ?= github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME ?= 30s
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The version is known here: go need not ask git, which tells nothing to a user who does not own the clone.
export GOFLAGS += -buildvcs=false
# Go keeps what it has built and fetched in the home of its user; where that cannot be written, in the clone.
ifeq ($(shell mkdir -p "$$(go env GOCACHE)" "$$(go env GOMODCACHE)" 2>/dev/null && test -w "$$(go env GOCACHE)" && echo yes),)
export GOCACHE := $(CURDIR)/.cache/build
export GOMODCACHE := $(CURDIR)/.cache/modules
export GOFLAGS += -modcacherw
endif
KEEPER   := host/proc/keeperbin/bin/keeper
UNIT      = $(shell go list ./... | grep -v -e /e2e -e /bench)

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the program, static, into bin/: first the keeper, which it carries
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o $(KEEPER) ./cmd/backstay-keeper
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X github.com/backstay/backstay/cli.Version=$(VERSION)' -o bin/ ./cmd/backstay ./examples/shop

demo: ## build, run the main job, break everything, print what it cost
	@echo "building ..." >&2; start=$$(date +%s); $(MAKE) --no-print-directory -s build && BACKSTAY_BUILT_IN=$$(( $$(date +%s) - start ))s bin/backstay demo

test: peers build ## everything: units under the race detector, then real processes
	CGO_ENABLED=1 go test -race $(UNIT)
	go test -run Allocate ./l7 # the race detector empties pools at random
	$(MAKE) --no-print-directory e2e

race: ## units under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race $(UNIT)

root: ## everything, and nothing may be skipped for want of root
	BACKSTAY_NEED_ROOT=1 $(MAKE) --no-print-directory test

e2e: build ## real processes: killed, frozen, deployed under load (short form)
	go test -count=1 -timeout 30m ./e2e/...

bench: peers build ## side by side with the peers: ratios, into docs/measurements.md
	go run ./bench -md docs/measurements.md

soak: peers build ## the long form of every proof: hours
	BACKSTAY_LONG=1 go test -count=1 -timeout 12h ./e2e/...

fuzz: ## each fuzz target for FUZZTIME
	@set -e; grep -rl --include='*_test.go' '^func Fuzz' . | while read -r f; do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' "$$f"); do \
			go test "./$$(dirname "$$f")" -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME); \
		done; \
	done

lint: ## go vet and golangci-lint
	go vet ./...
	go run $(GOLANGCI) run

fmt: ## gofmt, with simplification
	gofmt -s -w .

generate: ## the generated pages of docs/reference
	go generate ./...

check: ## what CI does, in its order
	.ci/run

peers: ## install what the tests need (root, Debian), or say what is missing
	@.ci/peers

clean: ## remove what build has made
	rm -rf bin .cache $(KEEPER)

# Everything a developer runs. The first use of the control plane builds
# Kubernetes, which takes minutes; the result is cached outside the checkout.

DEMO = ../bin/demo $(if $(TRACE),--trace $(abspath $(TRACE))) $(if $(PODS),--pods $(PODS)) $(if $(DURATION),--duration $(DURATION))

# What the binary and the image call themselves.
VERSION = $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.PHONY: demo sim soak test lint cluster build image bench-plan bench-replay bench-cluster

build: ## Build tidegate into bin/.
	CGO_ENABLED=0 go build -trimpath -ldflags="-X main.version=$(VERSION)" -o bin/tidegate ./cmd/tidegate

demo: ## Run the main job against a real control plane and an emulated Azure.
	cd e2e && go build -o ../bin/demo ./cmd/demo
	cd e2e && exec $(DEMO)

SEEDS = 2000
FIRST = 1

sim: ## Simulate SEEDS seeds in virtual time, from seed FIRST on.
	go test -count=1 -timeout 2h ./capacity/sim -args -seeds $(SEEDS) -first $(FIRST)

RETIREMENTS = 1000

soak: ## Retire RETIREMENTS machines on a real control plane whose bindings are delayed.
	cd e2e && go build -o ../bin/soak ./cmd/soak
	cd e2e && exec ../bin/soak --retirements $(RETIREMENTS)

test: ## Unit tests, then the end-to-end tests on the real control plane.
	go test ./...
	cd e2e && go run ./cmd/cluster -build-only
	cd e2e && go test -count=1 -timeout 40m ./...
	cd bench && go test ./...

lint: ## gofmt, go vet and staticcheck, on every module.
	@test -z "$$(gofmt -l .)" || { echo "run gofmt on:"; gofmt -l .; exit 1; }
	go vet ./...
	go vet -tags failpoint ./cmd/...
	cd e2e && go vet ./...
	go tool -modfile=tools/go.mod staticcheck ./...
	cd e2e && go tool -modfile=../tools/go.mod staticcheck ./...
	cd bench && go vet ./...
	cd bench && go tool -modfile=../tools/go.mod staticcheck ./...

cluster: ## Keep a control plane running and print how to reach it.
	cd e2e && go build -o ../bin/cluster ./cmd/cluster
	cd e2e && exec ../bin/cluster

bench-plan: ## Measure the planner, and Karpenter's beside it; see docs/performance.md.
	mkdir -p bin
	cd bench && go test -run '^$$' -bench . ./scenario
	cd bench && go test -count=1 -v -run TestPackingQuality ./packing
	cd bench && go run ./cmd/growth -dir ../bin
	cd bench && go run ./cmd/compare

bench-replay: ## Hold the machine-hours of the trace TRACE=FILE against a lower bound.
	cd bench && go run ./cmd/replay -trace $(abspath $(TRACE))

bench-cluster: ## Measure what Tidegate costs clusters of 1,000 and 5,000 nodes.
	cd e2e && go run ./cmd/throughput

IMAGE = docker.io/library/tidegate:latest
# Those of the image, such as linux/amd64,linux/arm64; empty is that of this machine.
PLATFORMS =
BUILDER = $(or $(firstword $(foreach b,docker podman buildah,$(shell command -v $(b)))),$(error make image needs docker, podman or buildah))

# docker has nowhere to keep an image for several platforms but a registry.
image: ## Build the container image with docker, podman or buildah.
	$(BUILDER) build --build-arg VERSION=$(VERSION) \
		$(if $(PLATFORMS),--platform $(PLATFORMS) $(if $(filter %/docker,$(BUILDER)),--push -t,--manifest),-t) $(IMAGE) .

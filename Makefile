# What the README promises, and what .ci/run runs. Everything that is needed
# beyond Go, gcc, git and make is fetched by these targets themselves.

VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS   := -s -w -X github.com/kubejoin/kubejoin/cli.version=$(VERSION)
BIN       := bin/kubejoin
GOLANGCI  := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOTESTSUM := gotest.tools/gotestsum@v1.13.0
VULN      := golang.org/x/vuln/cmd/govulncheck@v1.9.0

export CGO_ENABLED := 0

.PHONY: build man example test unit race lint vuln fuzz e2e bench lab-up lab-down clean

build: man ## the binary: static, stripped; and its man pages
	go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) .

man: ## a man page for each command, in bin/man
	go run ./internal/man bin/man

example: ## the offline example of the README
	go run . plan -f testdata/example/join.yaml --cluster testdata/example/cluster.yaml --rootfs testdata/example/root

test: unit race lint vuln fuzz ## everything that needs no cluster and no root

unit:
	go vet ./...
	go test ./...

race: ## the race detector needs cgo
	CGO_ENABLED=1 go test -race ./...

lint: ## gofmt, staticcheck and others, and the arrows between the packages (depguard)
	go run $(GOLANGCI) run ./...
	cd e2e && go run $(GOLANGCI) run --config ../.golangci.e2e.yml ./...

vuln: ## the database of known vulnerabilities is on the network: say so when it is out of reach
	@out=$$(go run $(VULN) ./... 2>&1); code=$$?; echo "$$out"; \
	if [ $$code -ne 0 ] && echo "$$out" | grep -q '^govulncheck: fetching vulnerabilities: '; then \
		echo "govulncheck: skipped, the vulnerability database is out of reach"; \
	else exit $$code; fi

fuzz: ## a short run; the seeds are part of the unit tests
	go test ./apis/load -run '^$$' -fuzz FuzzJoinConfiguration -fuzztime 10s -fuzzminimizetime 5x
	go test ./apis/load -run '^$$' -fuzz FuzzLoad -fuzztime 10s -fuzzminimizetime 5x
	go test ./apis/kubeadm -run '^$$' -fuzz FuzzRoundTrip -fuzztime 10s -fuzzminimizetime 5x
	go test ./migrate -run '^$$' -fuzz FuzzMigrate -fuzztime 10s -fuzzminimizetime 5x

e2e: ## real machines, a real cluster; as root on Debian
	cd e2e && go vet ./... && go run ./cmd/lab build # before anything is timed
	@# One package at a time: some cases are timed. What was skipped or failed is said again at the end.
	cd e2e && go run $(GOTESTSUM) --format standard-verbose -- -count=1 -timeout 80m -p 1 ./...

bench: ## kubeadm beside kubejoin in one run; as root on Debian
	cd e2e && go test -count=1 -timeout 80m -v -run '^$$' -bench . -benchtime 1x ./...

lab-up: ## keeps a cluster and a machine up for trying things by hand
	cd e2e && go run ./cmd/lab -kubejoin .. up w1 w2

lab-down:
	cd e2e && go run ./cmd/lab down

clean:
	rm -rf bin

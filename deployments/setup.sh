#!/bin/sh
# Prepares a Debian (12 or later) or Ubuntu machine to build and run Hermes: installs the packages that
# are missing, and builds the programs that hermesd makes sandboxes with into bin/libexec. It may be run
# again at any time and does only what is not done yet. It needs root only when packages are missing.
#
#   deployments/setup.sh            everything
#   LIBEXEC=DIR deployments/setup.sh   build into DIR
set -eu

cd "$(dirname "$0")/.."
libexec=${LIBEXEC:-$PWD/bin/libexec}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

say() { printf '%s\n' "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# step NAME COMMAND...: runs quietly; on failure shows what the command said.
step() {
	what=$1
	shift
	say "$what"
	"$@" >"$log" 2>&1 && return 0
	status=$?
	tail -n 40 "$log" >&2
	say "$what: failed (status $status)"
	return "$status"
}

# The packages whose part in parentheses is missing on this machine.
missing_packages() {
	have() { command -v "$1" >/dev/null 2>&1; }
	have gcc || echo gcc
	have g++ || echo g++
	have make || echo make
	have pkg-config || echo pkg-config
	[ -e /usr/include/stdlib.h ] || echo libc6-dev
	[ -e /usr/include/seccomp.h ] || echo libseccomp-dev
	[ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Dpkg::Use-Pty=0 "$@"; }

install_packages() {
	[ $# -gt 0 ] || { say "packages: all there"; return 0; }
	command -v apt-get >/dev/null 2>&1 || die "these packages are missing and there is no apt-get: $*; install them by hand"
	[ "$(id -u)" = 0 ] || die "these packages are missing: $*; run this as root once"
	step "install $*" apt_get install --no-install-recommends "$@" && return 0
	step "update the package lists" apt_get update
	step "install $*" apt_get install --no-install-recommends "$@"
}

# install_better PROGRAM PACKAGE: installs what is only better to have.
install_better() {
	if command -v "$1" >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then return 0; fi
	install_packages "$2" || say "$2 cannot be installed: doing without it"
}

# current FILE STAMP: FILE was built from what STAMP says.
current() { [ -x "$1" ] && [ "$(cat "$1.stamp" 2>/dev/null)" = "$2" ]; }

# go_build NAME DIR STAMP ARGUMENTS...: builds a Go program of the module in DIR.
go_build() {
	program=$1 dir=$2 stamp="$3 $(go env GOVERSION)"
	shift 3
	if current "$libexec/$program" "$stamp"; then say "$program: up to date"; return 0; fi
	step "build $program" go -C "$dir" build -trimpath -ldflags '-s -w' -o "$libexec/$program.new" "$@" || return 1
	mv "$libexec/$program.new" "$libexec/$program"
	printf '%s\n' "$stamp" >"$libexec/$program.stamp"
}

build_runc() {
	version=$(go -C deployments/tools list -m -f '{{.Version}}' github.com/opencontainers/runc)
	go_build runc deployments/tools "runc $version" -tags seccomp github.com/opencontainers/runc && return 0
	say "runc $version does not build here: using the distribution's, which may lack fixes"
	command -v runc >/dev/null 2>&1 || install_packages runc
}

# What hermes-launch costs at each start is mostly the pages that it touches, so it is static. The
# machine's libseccomp is in it.
build_launch() {
	version=$(go -C deployments/tools list -m -f '{{.Version}}' github.com/opencontainers/runc)
	source=$(cat deployments/tools/hermes-launch/*.go | cksum)
	go_build hermes-launch deployments/tools "$source, libcontainer $version" -tags "seccomp netgo osusergo" \
		-ldflags '-s -w -extldflags "-static"' ./hermes-launch && return 0
	say "hermes-launch does not build here: each sandbox costs a call of runc instead"
}

# With musl the init is a twentieth as large, and its start does not ask the processor what it can do:
# on a virtual machine each such question costs microseconds, and glibc has dozens.
build_init() {
	source=services/watcher/containerd/init/hermes-init.c
	compiler=gcc
	if command -v musl-gcc >/dev/null 2>&1; then compiler=musl-gcc; fi
	stamp="$(cksum <$source) $compiler"
	if current "$libexec/hermes-init" "$stamp"; then say "hermes-init: up to date"; return 0; fi
	step "build hermes-init" $compiler -static -Os -s -Wall -Wextra -Werror -o "$libexec/hermes-init.new" $source
	mv "$libexec/hermes-init.new" "$libexec/hermes-init"
	printf '%s\n' "$stamp" >"$libexec/hermes-init.stamp"
}

# shellcheck disable=SC2046 # one word a package
install_packages $(missing_packages)
install_better musl-gcc musl-tools
command -v go >/dev/null 2>&1 || die "there is no go: install Go 1.26 or later from https://go.dev/dl"
mkdir -p "$libexec"
build_init
build_runc
build_launch
say "done: $libexec"

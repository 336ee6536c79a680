#!/usr/bin/env bash
# Compares Hermes with the other ways of running a program on this machine, and says which budgets
# of the project are met. Installs what it compares with; needs root and Debian. What cannot be
# installed is left out by name. Everything runs on loopback, in a folder that is removed at the end.
#   deployments/bench/run.sh [--rounds 100] [--seconds 5] [--out bin/bench.json]   # or --help
# With the word flood it measures, without the others, what one user can do to another's runs.
#   deployments/bench/run.sh flood [KIND...] [--rounds 100]
# With the word cost it measures the processor time that a run takes, by process.
#   deployments/bench/run.sh cost [--runs 500]
set -euo pipefail
cd "$(dirname "$0")/../.."
deployments/build.sh

say() { printf '%s\n' "bench: $*" >&2; }

# The packages whose program is missing on this machine.
missing_packages() {
	have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
	have crun || echo crun
	have bwrap || echo bubblewrap
	have ssh || echo openssh-client
	have sshd || echo openssh-server
	have podman || echo podman
	have munged || echo munge
	have slurmctld && have slurmd && have srun || echo slurm-wlm
}

# install PACKAGE...: without starting the daemons that come with some of them.
install() {
	policy=/usr/sbin/policy-rc.d made=
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
		made=yes
	fi
	apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Dpkg::Use-Pty=0 "$@" >&2; }
	for package in "$@"; do
		say "install $package"
		apt_get install --no-install-recommends "$package" && continue
		apt_get update && apt_get install --no-install-recommends "$package" || say "$package cannot be installed: left out"
	done
	if [ -n "$made" ]; then rm -f $policy; fi
}

packages=
if [ "${1:-}" != flood ] && [ "${1:-}" != cost ]; then packages=$(missing_packages); fi
if [ -n "$packages" ]; then
	if command -v apt-get >/dev/null 2>&1; then
		# shellcheck disable=SC2086 # one word a package
		install $packages
	else
		say "no apt-get: left out is what needs" $packages
	fi
fi
go build -trimpath -o bin/hermes-bench ./deployments/bench
exec bin/hermes-bench "$@"

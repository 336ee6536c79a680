#!/usr/bin/env bash
# Runs the main job on a machine with an NVIDIA GPU: an instance of its own, functions that compute on
# the GPU, two users in turn, a look for what the one left for the other, the cancel of a kernel that
# never ends; and compares Hermes with fork+exec of the same program, with CUDA's own start-up apart.
# Needs root, g++ and make, an NVIDIA driver, and nvcc for gpu-pi-montecarlo, which is left out without.
#   deployments/bench/gpu.sh [--rounds 20]      here; builds what is missing, if Go is there
#   deployments/bench/gpu.sh --pack FILE.tgz    packs programs and this, for a machine without Go: unpack it there, run ./gpu.sh
#   deployments/bench/gpu.sh --check            tries what can be tried without a GPU
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rounds=20 check='' pack=''

say() { printf '%s\n' "gpu: $*" >&2; }
die() { say "$*"; exit 1; }

while [ $# -gt 0 ]; do
	case $1 in
	--rounds) rounds=${2:?--rounds needs a number}; shift 2 ;;
	--pack) pack=${2:?--pack needs a file}; shift 2 ;;
	--check) check=yes; shift ;;
	-h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
	*) die "$1 is no option; see --help" ;;
	esac
done
case $rounds in '' | *[!0-9]* | 0) die "--rounds $rounds: must be a number from 1" ;; esac

# The programs: beside this script when it was unpacked, else built in bin of the repository.
if [ -x "$here/bin/hermesd" ]; then
	bin=$here/bin
else
	root=$(cd "$here/../.." && pwd)
	bin=$root/bin
	command -v go >/dev/null 2>&1 && [ -z "$check" ] && "$root/deployments/build.sh" >&2
fi
for program in hermes hermesd libexec/hermes-init libexec/runc; do
	[ -x "$bin/$program" ] || die "$bin/$program is missing: run deployments/build.sh where Go is, or --pack there"
done

if [ -n "$pack" ]; then
	folder=$(mktemp -d)
	trap 'rm -rf "$folder"' EXIT
	mkdir -p "$folder/hermes-gpu/bin" "$folder/hermes-gpu/gpu"
	cp -r "$bin/hermes" "$bin/hermesd" "$bin/libexec" "$folder/hermes-gpu/bin/"
	cp "$here/gpu.sh" "$folder/hermes-gpu/"
	cp "$here/gpu/probe.c" "$here/gpu/Makefile" "$folder/hermes-gpu/gpu/"
	tar -C "$folder" -czf "$pack" hermes-gpu
	say "$pack: unpack it there, and run hermes-gpu/gpu.sh"
	exit 0
fi

work=$(mktemp -d "${TMPDIR:-/var/tmp}/hermes-gpu.XXXXXX")
chmod 755 "$work"
export XDG_CONFIG_HOME=$work/config HERMES_LIBEXEC=$bin/libexec
daemon=''
# shellcheck disable=SC2317 # it is called, by the trap
finish() {
	trap - EXIT
	if [ -n "$daemon" ] && kill "$daemon" 2>/dev/null; then wait "$daemon" 2>/dev/null || true; fi
	rm -rf "$work"
}
trap finish EXIT
trap 'say "interrupted; cleaning up"; exit 130' INT TERM HUP
for program in make cc g++; do
	command -v "$program" >/dev/null 2>&1 || die "$program is missing, which functions are built with: apt-get install g++ make"
done
cp -r "$here/gpu" "$work/probe"
make -s -C "$work/probe" || die "the probe does not build: it needs make and a C compiler"
probe=$work/probe/a.out

# doctor [WORDS]: what is missing here, all of it or what has to do with these words.
doctor() { { "$bin/hermesd" doctor --data-dir "$work/none" 2>/dev/null || true; } | grep -E -A1 "${1:-.}" >&2; }

# Without a driver the probe says so and ends with 3, and nothing else was tried.
why=$(echo start | "$probe" 2>&1 >/dev/null) && status=0 || status=$?
if [ -n "$check" ]; then
	doctor '(gpu|cuda toolkit) ' || die "hermesd doctor says nothing of GPUs"
	case $status in
	0) say "check: the probe computes here; run this without --check" ;;
	3) say "check: in order, but for the GPU: $why" ;;
	*) die "check: there is a driver, and the probe fails: $why" ;;
	esac
	exit 0
fi
if [ "$status" != 0 ]; then
	say "$why"
	doctor '(gpu|cuda toolkit) ' || true
	die "this needs a machine with an NVIDIA GPU; nothing was measured"
fi
[ "$(id -u)" = 0 ] || die "this needs root, as containers do"

port=$((20000 + RANDOM % 20000))
"$bin/hermesd" up --data-dir "$work/data" --listen "127.0.0.1:$port" --user ana --registration invite --grace 5s >"$work/log" 2>&1 &
daemon=$!
for _ in $(seq 300); do
	grep -q 'hermesd is ready' "$work/log" && break
	kill -0 "$daemon" 2>/dev/null || { cat "$work/log" >&2; die "hermesd did not start"; }
	sleep 0.1
done
grep -q 'hermesd is ready' "$work/log" || { cat "$work/log" >&2; die "hermesd was not ready after 30 s"; }
# known KEY: what the list says of the first GPU, once the watcher has told of it.
known() { printf '%s\n' "$listed" | sed -n "s/.*\"$1\": \"\(.*\)\".*/\1/p" | head -1; }
for _ in $(seq 100); do
	listed=$("$bin/hermes" gpu list --json 2>/dev/null) && [ -n "$(known model)" ] && break
	sleep 0.1
done
"$bin/hermes" gpu list >&2
[ -n "$(known model)" ] || { doctor || true; die "the probe computes, but hermesd finds no GPU"; }
gpu="$(known model), driver $(known driver), CUDA $(known cuda)"

# as USER ARGUMENTS...: ana is the local user, bob has a context of his own.
# A command that takes too long is ended, so that a GPU which nobody gets holds nothing up.
patience=120
as() { who=$1; shift; [ "$who" != ana ] || who=hermes-local; timeout "$patience" "$bin/hermes" --context "$who" "$@"; }
printf 'gpu-script-only\n' | "$bin/hermesd" user add bob --password-stdin >&2
as ana remote add "nats://127.0.0.1:$port" --name bob >&2
printf 'gpu-script-only\n' | as bob remote login bob --password-stdin >&2

# expect WHAT WANTED GOT
failed=0
expect() {
	case $3 in
	*"$2"*) say "ok: $1" ;;
	*) say "FAILED: $1: got '$3', want '$2'"; failed=1 ;;
	esac
}

# deploy USER VERSION: the probe, with something in it that no earlier version has.
deploy() {
	printf '{"functionName": "probe", "functionVersion": "%s", "language": "cpp", "gpuCapable": true, "scope": "private", "handler": "./a.out", "memory": "8GiB"}\n' "$2" >"$work/probe/hermes.config.json"
	echo "$2" >"$work/probe/version"
	(cd "$work/probe" && as "$1" function deploy >&2)
}
for user in ana bob; do deploy "$user" 1.0.0; done
run() { printf '%s\n' "$2" | as "$1" function run probe; }

sum=$(run ana 'sum 1000000' 2>"$work/why") || {
	cat "$work/log" >&2
	doctor || true
	cat "$work/why" >&2
	die "no function runs on the GPU here; nothing was measured"
}
expect "a sum on the GPU" 500000500000 "$sum"
if command -v nvcc >/dev/null 2>&1 || [ -x /usr/local/cuda/bin/nvcc ]; then
	as ana function init "$work" --name gpu-pi-montecarlo --language cuda --template gpu-pi-montecarlo >&2
	(cd "$work/gpu-pi-montecarlo" && as ana function deploy >&2)
	expect "gpu-pi-montecarlo" 3.14 "$(echo 100000000 | as ana function run gpu-pi-montecarlo)"
else
	say "left out: gpu-pi-montecarlo, as there is no nvcc"
fi
expect "ana fills memory" filled "$(run ana 'fill 1024')"
patience=400 # it copies all of the memory
expect "bob finds nothing of it" 'found 0 words' "$(run bob look)"
patience=120
expect "bob computes" 500000500000 "$(run bob 'sum 1000000')"

id=$(printf 'spin\n' | as ana function run probe --async -o json | sed -n 's/.*"runID": *\([0-9]*\).*/\1/p')
for _ in $(seq 100); do as ana execution logs "$id" 2>/dev/null | grep -q spinning && break; sleep 0.1; done
expect "the GPU is in use" 'in use' "$(as bob gpu list)"
sleep 3 # what the GPU does is read once a second
as ana execution cancel "$id" >&2
as ana execution wait "$id" >/dev/null 2>&1 || true
expect "an endless kernel is cancelled" cancelled "$(as ana execution inspect "$id")"
expect "its GPU is free again" 500000500000 "$(run bob 'sum 1000000')"
seen=$(as ana execution inspect "$id" --gpu || true)
printf '%s\n' "$seen" >&2
expect "what the GPU did is known" 'utilisation, ' "$seen"

# median of microseconds, one a line, in milliseconds
median() { sort -n | awk '{ v[NR] = $1 } END { printf "%.1f", v[int((NR + 1) / 2)] / 1000 }'; }
now() { echo $(($(date +%s%N) / 1000)); }
# shellcheck disable=SC2317 # these two are called, by row
plain() { echo start | timeout "$patience" "$probe"; }
# shellcheck disable=SC2317
hermes_run() { run ana start; }
# row WAY ROUNDS COMMAND: how long it takes, and how much of that the program says that CUDA's start took.
row() {
	: >"$work/all" && : >"$work/cuda"
	for _ in $(seq "$2"); do
		t=$(now)
		micros=$("$3") || die "$1: it failed; the table is not whole"
		echo $(($(now) - t)) >>"$work/all"
		echo "$micros" >>"$work/cuda"
	done
	printf '%-44s %10s %16s\n' "$1" "$(median <"$work/all")" "$(median <"$work/cuda")"
}

deploy ana 1.0.1
printf '\n%s\n%s rounds, median, milliseconds\n\n' "$gpu" "$rounds"
printf '%-44s %10s %16s\n' way 'in all' 'of it CUDA start'
row 'fork+exec' "$rounds" plain
row 'hermes function run, cold: a new version' 1 hermes_run
row 'hermes function run, those that follow' "$rounds" hermes_run
exit "$failed"

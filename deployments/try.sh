#!/usr/bin/env bash
# Shows Hermes at work: starts an instance of its own unless one runs, deploys the example
# pi-montecarlo, runs it with live output, runs it once more in the background, and looks at both.
# The instance goes on afterwards, to be tried by hand.
set -euo pipefail
cd "$(dirname "$0")/.."
deployments/build.sh
bin=$PWD/bin
data=${HERMES_DATA_DIR:-/var/lib/hermes}
log=$PWD/.hermes/hermesd.log
example=$PWD/.hermes/pi-montecarlo
mkdir -p .hermes

bold= plain=
if [ -t 2 ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
say() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain" >&2; }
show() { say "${*/#$bin\//}"; "$@"; }

if ! "$bin/hermes" remote whoami >/dev/null 2>&1; then
  say "hermesd up --data-dir $data   # in the background, its log is in $log"
  setsid "$bin/hermesd" up --data-dir "$data" --listen "${HERMES_LISTEN:-127.0.0.1:4222}" >"$log" 2>&1 </dev/null &
  pid=$!
  for _ in $(seq 600); do
    grep -q 'hermesd is ready' "$log" && break
    if ! kill -0 "$pid" 2>/dev/null; then
      cat "$log" >&2
      echo "hermesd did not start: see above, and: bin/hermesd doctor" >&2
      exit 1
    fi
    sleep 0.1
  done
  grep 'hermesd is ready' "$log" >&2
  echo "$pid" >.hermes/hermesd.pid
fi

[ -d "$example" ] || show "$bin/hermes" function init .hermes --name pi-montecarlo --language cpp --template pi-montecarlo
cd "$example"
show "$bin/hermes" function deploy -u
say 'echo 20000000 | hermes function run pi-montecarlo'
echo 20000000 | "$bin/hermes" function run pi-montecarlo
say 'echo 5000000 | hermes function run pi-montecarlo --async'
echo 5000000 | "$bin/hermes" function run pi-montecarlo --async --output json | tee ../last.json
run=$(sed -n 's/.*"runID": *\([0-9]*\).*/\1/p' ../last.json | head -1)
show "$bin/hermes" execution logs "$run" -f
show "$bin/hermes" execution list
show "$bin/hermes" execution inspect "$((run - 1))"
show "$bin/hermes" execution inspect "$run"
if [ -f ../hermesd.pid ]; then
  printf '\nThe instance goes on. Try it: export PATH=%s:$PATH\nStop it: kill %s\n' "$bin" "$(cat ../hermesd.pid)" >&2
fi

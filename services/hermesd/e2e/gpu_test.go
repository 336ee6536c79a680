package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/cuda"
)

// nvcc stands for a CUDA compiler: what it makes needs no GPU to be executed, which it must not come to.
const nvcc = `#!/bin/sh
case $1 in
--version) echo 'Cuda compilation tools, release 12.4, V12.4.131' ;;
--list-gpu-arch) echo compute_90 ;;
*) while [ "$1" != -o ]; do shift; done; printf '#!/bin/sh\necho 3.14\n' >"$2"; chmod +x "$2" ;;
esac
`

// withToolkit executes a program where a CUDA toolkit is installed, which nobody else sees.
const withToolkit = `set -e
mount -t tmpfs none /usr/local
mkdir -p /usr/local/cuda/bin
cp "$1" /usr/local/cuda/bin/nvcc
shift
exec "$@"
`

// TestGPUFunctionWithoutGPU: a machine without a GPU and without a toolkit refuses the build, says what to
// install, and says it again to who runs what was not built. When that is done it builds the same folder,
// and refuses the run, which nothing of the fleet can give a GPU.
func TestGPUFunctionWithoutGPU(t *testing.T) {
	needMachine(t)
	if cuda.Find(t.Context()).Bin != "" {
		t.Skip("this machine has a CUDA toolkit")
	}
	s := newSingle(t, "--slots", "2")
	if list := s.succeed(t, "gpu", "list"); !strings.Contains(list.stderr, "the fleet has no GPU") {
		t.Skip("this machine has a GPU")
	}
	w := world{s.user, s.connect(t)}
	dir := w.initTemplate(t, "gpu-pi-montecarlo")
	says := func(what string, r result, code int, wanted ...string) {
		t.Helper()
		for _, text := range wanted {
			if r.code != code || r.stdout != "" || !strings.Contains(r.stderr, text) {
				t.Errorf("%s: exit code %d\n%s%s\nwant %d and %q", what, r.code, r.stdout, r.stderr, code, text)
			}
		}
	}
	missing := []string{
		"no watcher of the fleet has a CUDA toolkit (watcher local: ", "install one on a machine of the fleet",
		"nvcc on PATH, /usr/local/cuda", "restart hermesd there; the machine needs no GPU",
	}
	says("a build without a toolkit", w.hermes(t, nil, "function", "deploy", dir), 1, missing...)
	says("a run of what was not built", w.hermes(t, []byte("1000\n"), "function", "run", "gpu-pi-montecarlo"), 125,
		append(missing, "function ana/gpu-pi-montecarlo has never been built")...)

	s.process.stop(t)
	compiler := filepath.Join(t.TempDir(), "nvcc")
	must(t, os.WriteFile(compiler, []byte(nvcc), 0o755))
	s.process = start(t, s.environment(), nil, "unshare",
		append([]string{"--mount", "sh", "-c", withToolkit, "sh", compiler, programs.hermesd}, s.flags...)...)
	s.process.waitFor(t, s.process.stdout, "hermesd is ready")

	if r := w.hermes(t, nil, "function", "deploy", dir); r.code != 0 || !strings.Contains(r.stdout, "nvcc ") || !strings.Contains(r.stdout, "ready") {
		t.Fatalf("a build with a toolkit: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	says("a run without a GPU", w.hermes(t, []byte("1000\n"), "function", "run", "gpu-pi-montecarlo"), 125,
		"(unplaceable): the fleet has no GPU: add a machine with an NVIDIA GPU", "`hermesd doctor` says there what is missing",
		"or set gpuCapable to false in hermes.config.json")
	if e := w.find(t, "gpu-pi-montecarlo", "1000\n"); e.Reason != events.ReasonUnplaceable || e.Attempt != 0 || e.Watcher != "" {
		t.Errorf("it ended with the reason %q after %d attempts on %q", e.Reason, e.Attempt, e.Watcher)
	}
	s.checkEnd(t)
}

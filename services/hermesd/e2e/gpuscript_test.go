package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGPUScript runs deployments/bench/gpu.sh on a machine that has a GPU as far as files tell: libraries in
// the place of the driver's, by which the whole way is gone that a real one takes, from NVML through CDI
// into containers. What it prints and how it ends is the script's own judgement.
func TestGPUScript(t *testing.T) {
	needMachine(t)
	if _, err := os.Stat("/dev/nvidiactl"); err == nil {
		t.Skip("this machine has a driver: run deployments/bench/gpu.sh")
	}
	if _, err := os.Stat("/usr/lib/x86_64-linux-gnu"); err != nil {
		t.Skipf("NOT RUN: the libraries of this machine are in other places: %v", err)
	}
	dir := newDataDir(t)
	layOut(t, dir)
	driver := makeDriver(t, dir)
	script := filepath.Join(dir, "gpu.sh")
	env := []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + t.TempDir(), "TMPDIR=" + dir}

	checked := start(t, env, nil, script, "--check")
	if code := checked.wait(t); code != 0 || !strings.Contains(checked.read(checked.stderr), "gpu: check: in order, but for the GPU: no NVIDIA driver here") {
		t.Errorf("--check: exit code %d\n%s", code, checked.read(checked.stderr))
	}
	without := start(t, env, nil, script)
	if code := without.wait(t); code != 1 || !strings.HasSuffix(without.read(without.stderr), "gpu: this needs a machine with an NVIDIA GPU; nothing was measured\n") {
		t.Errorf("without a GPU: exit code %d\n%s", code, without.read(without.stderr))
	}

	machine, err := filepath.Abs("testdata/driver/machine.sh")
	must(t, err)
	p := start(t, env, nil, "unshare", "--mount", "sh", machine, driver, script, "--rounds", "2")
	for _, end := range []string{"bob computes", "what the GPU did is known"} {
		p.waitFor(t, p.stderr, "gpu: ok: "+end+"\n")
	}
	code := p.wait(t)
	said, table := p.read(p.stderr), p.read(p.stdout)
	if code != 0 || strings.Contains(said, "FAILED") {
		t.Errorf("exit code %d\n%s", code, tail(said))
	}
	for _, what := range []string{
		"a sum on the GPU", "gpu-pi-montecarlo", "ana fills memory", "bob finds nothing of it", "bob computes", "the GPU is in use",
		"an endless kernel is cancelled", "its GPU is free again", "what the GPU did is known",
	} {
		if !strings.Contains(said, "gpu: ok: "+what+"\n") {
			t.Errorf("it does not say that %s", what)
		}
	}
	const row = ` +\d+\.\d +\d+\.\d\n`
	want := regexp.MustCompile(`^\nNVIDIA NONE80, driver 550\.54\.15, CUDA 12\.4\n2 rounds, median, milliseconds\n\nway +in all +of it CUDA start\n` +
		`fork\+exec` + row + `hermes function run, cold: a new version` + row + `hermes function run, those that follow` + row + `$`)
	if !want.MatchString(table) {
		t.Errorf("its table is\n%s\nwant\n%s", table, want)
	}
	if left, err := filepath.Glob(dir + "/hermes-gpu.*"); err != nil || len(left) > 0 {
		t.Errorf("it leaves %q, %v", left, err)
	}
}

// layOut puts the script where it finds the programs beside itself, as --pack does.
func layOut(t *testing.T, dir string) {
	t.Helper()
	const from = "../../../deployments/bench"
	must(t, os.CopyFS(filepath.Join(dir, "gpu"), os.DirFS(from+"/gpu")))
	script, err := os.ReadFile(from + "/gpu.sh")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "gpu.sh"), script, 0o755))
	bin := filepath.Join(dir, "bin")
	must(t, os.Mkdir(bin, 0o755))
	for name, program := range map[string]string{"hermes": programs.hermes, "hermesd": programs.hermesd, "libexec": programs.libexec} {
		must(t, os.Symlink(program, filepath.Join(bin, name)))
	}
}

// makeDriver compiles the libraries, and returns the folder with them and the compiler.
func makeDriver(t *testing.T, dir string) string {
	t.Helper()
	header, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/NVIDIA/go-nvml").Output()
	must(t, err)
	driver := filepath.Join(dir, "driver")
	must(t, os.Mkdir(driver, 0o755))
	for name, source := range map[string]string{"cuda": "cuda.c", "nvidia-ml": "nvml.c"} {
		cmd := exec.Command("gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations",
			"-Wl,-soname,lib"+name+".so.1", "-I", filepath.Join(string(bytes.TrimSpace(header)), "pkg/nvml"),
			"-o", filepath.Join(driver, "lib"+name+".so.550.54.15"), filepath.Join("testdata/driver", source))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("compile %s: %v\n%s", source, err, out)
		}
	}
	must(t, os.WriteFile(filepath.Join(driver, "nvcc"), []byte(nvcc), 0o755))
	return driver
}

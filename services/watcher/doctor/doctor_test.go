package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/cuda"
)

// machine writes files below a root and returns options that look there and find all else in order.
func machine(t *testing.T, files map[string]string) Options {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		at := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Options{
		Root: root, DataDir: filepath.Join(root, "data", "not", "yet"), Runc: "/l/runc", Init: "/l/init", Launch: "/l/launch", Network: "/l/network",
		UserID:   func() int { return 0 },
		LookPath: func(name string) (string, error) { return "/usr/bin/" + name, nil },
		CUDA:     func(context.Context) cuda.Toolkit { return cuda.Toolkit{} },
		Version:  func(context.Context, string) (string, error) { return "runc version 1.5.2\nspec: 1.3.0\n", nil },
	}
}

func goodFiles() map[string]string {
	return map[string]string{
		"dev/net/tun":                           "",
		"proc/sys/kernel/osrelease":             "6.1.0-25-amd64\n",
		"sys/fs/cgroup/cgroup.controllers":      "cpuset cpu io memory pids\n",
		"proc/self/ns/user":                     "",
		"proc/sys/user/max_user_namespaces":     "1000\n",
		"proc/sys/kernel/seccomp/actions_avail": "kill_process kill_thread trap errno log allow\n",
	}
}

// with is goodFiles with changes; an empty text means that there is no such file.
func with(changes map[string]string) map[string]string {
	files := goodFiles()
	for path, text := range changes {
		files[path] = text
		if text == "" {
			delete(files, path)
		}
	}
	return files
}

func resultOf(t *testing.T, name string, opts Options) Result {
	t.Helper()
	for _, result := range Run(context.Background(), opts) {
		if result.Name == name {
			return result
		}
	}
	t.Fatalf("no check is called %q", name)
	return Result{}
}

func TestGoodMachine(t *testing.T) {
	results := Run(context.Background(), machine(t, goodFiles()))
	for _, result := range results {
		// The disk is the real one, and may be slow or full.
		if result.Status != OK && !strings.HasPrefix(result.Name, "disk") {
			t.Errorf("%+v", result)
		}
		if result.Detail == "" || (result.Status == OK) != (result.Fix == "") {
			t.Errorf("a result must say what was found, and what to do if and only if it is not ok: %+v", result)
		}
	}
	if len(results) != 16 {
		t.Errorf("%d results", len(results))
	}
}

func TestMachine(t *testing.T) {
	for what, c := range map[string]struct {
		name   string
		files  map[string]string
		change func(*Options)
		want   Status
		detail string
	}{
		"not root":            {"root", nil, func(o *Options) { o.UserID = func() int { return 1000 } }, Fail, "user 1000"},
		"old kernel":          {"kernel", map[string]string{"proc/sys/kernel/osrelease": "5.10.0-1"}, nil, Fail, "5.10.0-1"},
		"first good kernel":   {"kernel", map[string]string{"proc/sys/kernel/osrelease": "5.12.0"}, nil, OK, "5.12"},
		"no kernel":           {"kernel", map[string]string{"proc/sys/kernel/osrelease": ""}, nil, Fail, "not a Linux"},
		"no cgroups":          {"cgroups", map[string]string{"sys/fs/cgroup/cgroup.controllers": ""}, nil, Fail, "no cgroup file system"},
		"no memory":           {"cgroups", map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpu pids"}, nil, Fail, "memory"},
		"cgroups 1":           {"cgroups", cgroups1(), nil, OK, "version 1"},
		"no user namespaces":  {"user namespaces", map[string]string{"proc/self/ns/user": ""}, nil, Fail, "without"},
		"off user namespaces": {"user namespaces", map[string]string{"proc/sys/user/max_user_namespaces": "0"}, nil, Fail, "switched off"},
		"no seccomp":          {"seccomp", map[string]string{"proc/sys/kernel/seccomp/actions_avail": ""}, nil, Fail, "no seccomp"},
		"no init":             {"init", nil, func(o *Options) { o.Init = "" }, Fail, "missing"},
		"no launcher":         {"launcher", nil, func(o *Options) { o.Launch = "" }, Warn, "missing"},
		"dead launcher": {"launcher", nil, func(o *Options) {
			o.Launches = func(context.Context, string) error { return errors.New("it ends") }
		}, Warn, "it ends: making a sandbox"},
		"live launcher": {"launcher", nil, func(o *Options) {
			o.Launches = func(context.Context, string) error { return nil }
		}, OK, "/l/launch"},
		"no runc": {"oci runtime", nil, func(o *Options) { o.Runc = "" }, Fail, "missing"},
		"no make": {"compilers", nil, func(o *Options) {
			o.LookPath = func(name string) (string, error) { return "", errors.New("no") }
		}, Warn, "g++"},
		"no tun":                   {"network", map[string]string{"dev/net/tun": ""}, nil, Warn, "/dev/net/tun"},
		"no tun, and it is needed": {"network", map[string]string{"dev/net/tun": ""}, func(o *Options) { o.NeedsNetwork = true }, Fail, "/dev/net/tun"},
		"no network program":       {"network", nil, func(o *Options) { o.Network, o.NeedsNetwork = "", true }, Fail, "hermes-network"},
		"dead containerd": {"containerd", nil, func(o *Options) {
			o.Address, o.Answers = "/run/x.sock", func(context.Context, string) error { return errors.New("refused") }
		}, Fail, "refused"},
		"live containerd": {"containerd", nil, func(o *Options) {
			o.Address, o.Answers = "/run/x.sock", func(context.Context, string) error { return nil }
		}, OK, "/run/x.sock"},
		"unwritable data": {"disk latency", nil, func(o *Options) { o.DataDir = "/proc/self" }, Fail, "/proc/self"},
		"data is a file":  {"disk space", nil, func(o *Options) { o.DataDir = "/proc/version" }, Fail, "no directory"},
	} {
		opts := machine(t, with(c.files))
		if c.change != nil {
			c.change(&opts)
		}
		if got := resultOf(t, c.name, opts); got.Status != c.want || !strings.Contains(got.Detail, c.detail) {
			t.Errorf("%s: %+v, want %s and %q", what, got, c.want, c.detail)
		}
	}
}

func cgroups1() map[string]string {
	files := map[string]string{"sys/fs/cgroup/cgroup.controllers": ""}
	for _, controller := range []string{"cpu", "memory", "pids"} {
		files["sys/fs/cgroup/"+controller+"/cgroup.procs"] = "1\n"
	}
	return files
}

func TestRuncVersions(t *testing.T) {
	for text, want := range map[string]Status{
		"runc version 1.1.5+ds1":  Warn,
		"runc version 1.2.7":      Warn,
		"runc version 1.2.8":      OK,
		"runc version 1.3.2":      Warn,
		"runc version 1.3.3\nx":   OK,
		"runc version 1.4.0-rc.2": Warn,
		"runc version 1.4.0-rc.3": OK,
		"runc version 1.4.0":      OK,
		"runc version 1.5.2":      OK,
		"runc version 2.0.0":      OK,
		"crun version 1.8":        Warn,
	} {
		opts := machine(t, goodFiles())
		opts.Version = func(context.Context, string) (string, error) { return text, nil }
		if got := resultOf(t, "oci runtime", opts); got.Status != want {
			t.Errorf("%s: %+v, want %s", text, got, want)
		}
	}
	opts := machine(t, goodFiles())
	opts.Version = func(context.Context, string) (string, error) { return "", errors.New("exec format error") }
	if got := resultOf(t, "oci runtime", opts); got.Status != Fail {
		t.Errorf("a runc that does not run: %+v", got)
	}
}

func TestDiskJudgements(t *testing.T) {
	for free, want := range map[uint64]Status{1 << 20: Fail, 5 << 30: Warn, 50 << 30: OK} {
		if got := judgeSpace("/d", free); got.Status != want {
			t.Errorf("%d bytes free: %+v, want %s", free, got, want)
		}
	}
	for median, want := range map[time.Duration]Status{time.Millisecond: OK, slowSync: OK, 11 * time.Millisecond: Warn} {
		if got := judgeSync("/d", median); got.Status != want {
			t.Errorf("%s: %+v, want %s", median, got, want)
		}
	}
}

func TestLatencyLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if got := resultOf(t, "disk latency", Options{DataDir: dir}); got.Status == Fail {
		t.Errorf("%+v", got)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestWorst(t *testing.T) {
	for want, statuses := range map[Status][]Status{OK: {OK}, Warn: {Warn, OK}, Fail: {Warn, Fail, OK, Warn}} {
		var results []Result
		for _, status := range statuses {
			results = append(results, Result{Status: status})
		}
		if got := Worst(results); got != want {
			t.Errorf("worst of %v is %s", statuses, got)
		}
	}
}

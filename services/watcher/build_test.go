package watcher

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/bundle"
	"github.com/hermes-serverless/hermes/services/watcher/cuda"
)

// build places the build of these files and returns its report.
func (w *world) build(files map[string]string) (api.RunRequest, api.Report) {
	w.t.Helper()
	r := w.request(w.blobs.Bundle(w.t, files))
	r.Request.Kind = events.KindBuild
	w.place(r)
	return r, next(w.t, "report", w.reports)
}

const makefile = "all:\n\t@echo making; cp source handler; chmod +x handler\nclean:\n\t@echo cleaning >&2; rm -f handler\n"

func TestBuild(t *testing.T) {
	w := newWorld(t)
	stop := w.watch()
	t.Run("keeps what make made", func(t *testing.T) {
		r, report := w.build(map[string]string{"Makefile": makefile, "source": "#!/bin/sh\necho built\n", "handler": "stale"})
		if report.Outcome != api.Succeeded || report.Artifact == nil {
			t.Fatalf("report %+v", report)
		}
		if stdout, stderr, _ := w.output(r); stdout != "making\n" || stderr != "cleaning\n" {
			t.Errorf("output %q, %q", stdout, stderr)
		}
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		var archive bytes.Buffer
		if err := w.blobs.Get(t.Context(), *report.Artifact, &archive); err != nil {
			t.Fatal(err)
		}
		if err := bundle.Extract(t.Context(), &archive, root, bundle.Limits{}); err != nil {
			t.Fatal(err)
		}
		w.blobs.Unpack(*report.Artifact, dir)
		run := w.request(*report.Artifact)
		w.place(run)
		if report := next(t, "report", w.reports); report.Outcome != api.Succeeded {
			t.Errorf("report %+v", report)
		}
		if stdout, _, _ := w.output(run); stdout != "built\n" {
			t.Errorf("output %q", stdout)
		}
	})
	for _, c := range []struct{ name, makefile, reason, message, stdout string }{
		{"no Makefile", "", events.ReasonMake, "no Makefile", ""},
		{"clean fails", "clean:\n\t@echo no; false\n", events.ReasonClean, "make clean exited with code 2", "no\n"},
		{"make fails", "all:\n\t@echo no; false\nclean:\n\t@true\n", events.ReasonMake, "make exited with code 2", "no\n"},
		{"no handler", "all:\nclean:\n", events.ReasonHandler, "is not there", ""},
		{"handler is not executable", "all:\n\t@touch handler\nclean:\n", events.ReasonHandler, "chmod +x handler", ""},
		{"handler is a folder", "all:\n\t@mkdir handler\nclean:\n", events.ReasonHandler, "not a regular file", ""},
		{"handler is a link", "all:\n\t@ln -s /bin/sh handler\nclean:\n", events.ReasonHandler, "symbolic link", ""},
		{"a link leads out", "all:\n\t@cp Makefile handler; chmod +x handler; ln -s /etc/passwd secret\nclean:\n", events.ReasonArtifact, "secret", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := map[string]string{"source": "x"}
			if c.makefile != "" {
				files["Makefile"] = c.makefile
			}
			r, report := w.build(files)
			expect(t, report, api.Failed, c.reason, c.message)
			if report.Artifact != nil {
				t.Error("an artifact was kept")
			}
			if stdout, _, _ := w.output(r); !strings.HasPrefix(stdout, c.stdout) || c.stdout == "" && stdout != "" && !strings.HasPrefix(stdout, "make: Nothing") {
				t.Errorf("output %q", stdout)
			}
		})
	}
	t.Run("broken bundle", func(t *testing.T) {
		r := w.request(w.blobs.Add([]byte("no archive")))
		r.Request.Kind = events.KindBuild
		w.place(r)
		expect(t, next(t, "report", w.reports), api.Failed, events.ReasonInput, "bundle")
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(w.opts.StateDir, "scratch", "*")); len(left) != 0 || w.box.count() != 0 {
		t.Errorf("left behind: %v, %d sandboxes", left, w.box.count())
	}
}

func TestHandOver(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755),
		os.WriteFile(filepath.Join(dir, "a", "b", "c"), nil, 0o644), os.Chown(dir, 12345, 54321)); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := handOver(root); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "a/b", "a/b/c"} {
		info, err := root.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); s.Uid != 12345 || s.Gid != 54321 {
			t.Errorf("%s belongs to %d:%d", name, s.Uid, s.Gid)
		}
	}
}

// A build on the machine itself finds its CUDA toolkit, and knows what the fleet's GPUs are.
func TestBuildFindsCUDA(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "nvcc"), []byte("#!/bin/sh\necho \"nvcc $*\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *Options) { o.CUDA = cuda.Toolkit{Bin: bin, Architectures: []int{80, 90}} })
	stop := w.watch()
	for _, c := range []struct {
		capabilities []string
		want         string
	}{
		{nil, "nvcc -arch=all-major\nfor\n"},
		{[]string{"8.0", "9.0", "12.0"}, "nvcc -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 -gencode arch=compute_90,code=compute_90\nfor 80 90\n"},
	} {
		r := w.request(w.blobs.Bundle(w.t, map[string]string{"Makefile": "NVCC_GENCODE ?= -arch=all-major\nall:\n\t@nvcc $(NVCC_GENCODE); echo for $(CUDA_ARCHS); touch handler; chmod +x handler\nclean:\n\t@true\n"}))
		r.Request.Kind, r.Request.ComputeCapabilities = events.KindBuild, c.capabilities
		w.place(r)
		if report := next(t, "report", w.reports); report.Outcome != api.Succeeded {
			t.Errorf("report %+v", report)
		}
		if stdout, _, _ := w.output(r); stdout != c.want {
			t.Errorf("%v: make printed %q, want %q", c.capabilities, stdout, c.want)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

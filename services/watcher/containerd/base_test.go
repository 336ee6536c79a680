package containerd

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/services/base"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// smallRoot is a root filesystem of these programs of the machine, with the libraries that they need.
func smallRoot(t testing.TB, programs ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(from, to string) {
		content, err := os.ReadFile(from)
		if err == nil {
			err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: to, Mode: 0o755, Size: int64(len(content))})
		}
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	there := map[string]bool{}
	for _, program := range programs {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Skip(err)
		}
		add(path, "bin/"+program)
		out, err := exec.Command("ldd", path).Output()
		if err != nil {
			t.Skipf("ldd %s: %v", path, err)
		}
		for _, word := range strings.Fields(string(out)) {
			if strings.HasPrefix(word, "/") && !there[word] {
				there[word] = true
				add(word, word)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return unpackRoot(t, &b)
}

// unpackRoot brings a root filesystem where a sandbox finds it, through its archive.
func unpackRoot(t testing.TB, content io.Reader) string {
	t.Helper()
	around := newDir(t)
	t.Cleanup(func() { _ = exec.Command("chmod", "-R", "u+w", around).Run() })
	for _, dir := range []string{"made", "unpacked"} {
		if err := os.Mkdir(filepath.Join(around, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	made, err := os.OpenRoot(filepath.Join(around, "made"))
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	unpacked, err := os.OpenRoot(filepath.Join(around, "unpacked"))
	if err != nil {
		t.Fatal(err)
	}
	defer unpacked.Close()
	tree := base.NewTree(made, base.Limits{})
	var archive bytes.Buffer
	err = tree.Whole(t.Context(), content)
	if err == nil {
		err = tree.Finish()
	}
	if err == nil {
		_, err = base.Pack(t.Context(), made, base.Manifest{Architecture: "test"}, &archive)
	}
	if err == nil {
		err = base.Unpack(t.Context(), &archive, unpacked)
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(around, "unpacked", base.RootFS)
}

func onRoot(root string, spec sandbox.Spec) sandbox.Spec {
	spec.Base, spec.Root = "small@sha256:"+strings.Repeat("ab", 32), root
	return spec
}

// TestABaseHasWhatIsMountedOver: the container's own root could not make it.
func TestABaseHasWhatIsMountedOver(t *testing.T) {
	root := unpackRoot(t, bytes.NewReader(make([]byte, 1024)))
	for _, kind := range []sandbox.Kind{sandbox.Run, sandbox.Build} {
		spec := ociSpec(plan{spec: onRoot(root, testSpec("x", kind, "/x")), root: root, initBinary: "/i", socket: "/s"})
		if spec.Root.Path != root || !spec.Root.Readonly {
			t.Errorf("the root is %+v", spec.Root)
		}
		for _, m := range spec.Mounts {
			if strings.HasPrefix(m.Destination, "/dev/") {
				continue // beneath a mount
			}
			info, err := os.Lstat(filepath.Join(root, m.Destination))
			isFile := m.Destination == initPath || m.Destination == socketPath
			if err != nil || info.IsDir() == isFile || info.Mode()&os.ModeSymlink != 0 {
				t.Errorf("%s: %v, %v", m.Destination, info, err)
			}
			if m.Type == "bind" && !isFile && m.Destination != sandbox.FunctionDir {
				t.Errorf("%s of the machine is bound", m.Destination)
			}
		}
	}
}

func TestBasesAreChecked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{"", "/no/such/folder", file} {
		if err := checkBase(onRoot(root, testSpec("x", sandbox.Run, "/x"))); !errors.Is(err, sandbox.ErrBase) {
			t.Errorf("root %q: %v", root, err)
		}
	}
	if err := checkBase(onRoot(t.TempDir(), testSpec("x", sandbox.Run, "/x"))); err != nil {
		t.Error(err)
	}
}

// TestOnABase asks from inside a sandbox on an image what is there, and tries to change it. Two stand
// on the same root at once.
func TestOnABase(t *testing.T) {
	r := newRuntime(t)
	root := smallRoot(t, "sh", "ls", "cat", "touch", "id", "chmod", "mkdir", "ln", "rm", "make", "cp", "env")
	before := listing(t, root)
	for i, kind := range []sandbox.Kind{sandbox.Run, sandbox.Build} {
		dir := ""
		if kind == sandbox.Run {
			dir = newDir(t)
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		box := create(t, r, onRoot(root, testSpec([]string{"on-base-run", "on-base-build"}[i], kind, dir)))
		for script, want := range map[string]string{
			"id -u; id -un":     "65534\nnobody\n",
			"ls /":              ".hermes",
			"cat /etc/hostname": "sandbox\n",
			"cat /etc/passwd /etc/resolv.conf >/dev/null && echo read": "read\n",
			"echo x > /tmp/x && cat /tmp/x":                            "x\n",
			"touch /x; echo $?":                                        "Read-only file system\n1\n",
			"touch /etc/x; echo $?":                                    "Read-only file system\n1\n",
			"chmod 777 /bin/sh; echo $?":                               "Read-only file system\n1\n",
			"rm /bin/cat; echo $?":                                     "Read-only file system\n1\n",
			"ls /usr/bin /home /var 2>/dev/null | cat; ls /lib/systemd 2>/dev/null | cat; echo end": "end\n",
		} {
			got := output(t, box, "/bin/sh", "-c", script)
			if script == "ls /" {
				want = got // .hermes is hidden by its dot; what is there is asserted below
				for _, name := range []string{"bin", "dev", "etc", "function", "proc", "sys", "tmp"} {
					if !slices.Contains(strings.Fields(got), name) {
						t.Errorf("/ has no %s: %q", name, got)
					}
				}
			}
			if !strings.HasSuffix(got, want) {
				t.Errorf("%s: %s printed %q, want %q", kind, script, got, want)
			}
		}
		if kind == sandbox.Build {
			if err := box.Work().WriteFile("Makefile", []byte("run: run.sh\n\tcp run.sh run\n\tchmod +x run\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := box.Work().WriteFile("run.sh", []byte("#!/bin/sh\necho built\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			said := output(t, box, "/bin/env", "PATH=/bin", "make")
			if got := output(t, box, "./run"); got != "built\n" {
				t.Errorf("what was built on the base printed %q; make said %q", got, said)
			}
		}
	}
	if after := listing(t, root); after != before {
		t.Errorf("the base was\n%s\nand is\n%s", before, after)
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("find", dir, "-printf", "%P %m %U:%G %s %T@\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(out), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

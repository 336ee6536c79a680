package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// saveImage writes a docker archive of these programs of the machine, with the libraries that they
// need and a file that says which image it is.
func saveImage(t *testing.T, says string, programs ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(to string, content []byte) {
		must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: to, Mode: 0o755, Size: int64(len(content))}))
		_, err := w.Write(content)
		must(t, err)
	}
	add("opt/says", []byte(says+"\n"))
	there := map[string]bool{}
	for _, program := range programs {
		path, err := exec.LookPath(program)
		must(t, err)
		content, err := os.ReadFile(path)
		must(t, err)
		add("bin/"+program, content)
		libraries, err := exec.Command("ldd", path).Output()
		must(t, err)
		for _, word := range strings.Fields(string(libraries)) {
			if strings.HasPrefix(word, "/") && !there[word] {
				there[word] = true
				content, err := os.ReadFile(word)
				must(t, err)
				add(word, content)
			}
		}
	}
	must(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	must(t, err)
	img, err := mutate.AppendLayers(empty.Image, layer)
	must(t, err)
	img, err = mutate.Config(img, v1.Config{Env: []string{"IMAGE=" + says, "PATH=/bin"}, Entrypoint: []string{"/bin/false"}, User: "1"})
	must(t, err)
	file := filepath.Join(t.TempDir(), says+".tar")
	tag, err := name.NewTag("test/" + says + ":1")
	must(t, err)
	must(t, tarball.WriteToFile(file, tag, img))
	return file
}

// operate runs hermesd as the operator.
func (u *user) operate(t *testing.T, args ...string) result {
	t.Helper()
	r := u.command(t, programs.hermesd, nil, args...)
	if r.code != 0 {
		t.Fatalf("hermesd %v: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r
}

// imageFunction prints which image it stands on, and what the image's environment says.
func imageFunction(t *testing.T, name, base string) string {
	t.Helper()
	files := map[string]string{
		"Makefile": "all:\n\tcp run.sh run\n\tchmod +x run\nclean:\n\trm -f run\n",
		"run.sh":   "#!/bin/sh\ncat /opt/says 2>/dev/null || echo host\necho \"$IMAGE\"\n",
	}
	extra := map[string]any{}
	if base != "" {
		extra["base"] = base
	}
	return writeFunction(t, name, "run", files, extra)
}

// TestBases: a function is built and runs on the image that its config names, stays on it when the
// name means another, and the watcher has each image from the instance alone.
func TestBases(t *testing.T) {
	needMachine(t)
	s := newSingle(t, "--slots", "2", "--grace", "5s")
	w := world{s.user, s.connect(t)}
	tools := []string{"sh", "cat", "make", "cp", "chmod", "rm"}
	s.operate(t, "base", "import", "small", saveImage(t, "first", tools...))
	first := s.image(t, "small")

	if r := s.hermes(t, nil, "function", "deploy", imageFunction(t, "lost", "smal")); r.code == 0 || !strings.Contains(r.stderr, "did you mean small?") {
		t.Errorf("a base that is none: exit code %d\n%s", r.code, r.stderr)
	}
	dir := imageFunction(t, "stays", "small")
	if row := w.deploy(t, dir); row.Base != "small@"+first {
		t.Errorf("it is on %s, want small@%s", row.Base, first)
	}
	w.check(t, "stays", "", result{stdout: "first\nfirst\n"})

	s.operate(t, "base", "import", "small", saveImage(t, "second", tools...))
	second := s.image(t, "small")
	w.check(t, "stays", "", result{stdout: "first\nfirst\n"})
	s.operate(t, "base", "default", "cpp", "small")
	if row := w.deploy(t, imageFunction(t, "follows", "")); row.Base != "small@"+second {
		t.Errorf("it is on %s, want small@%s", row.Base, second)
	}
	w.check(t, "follows", "", result{stdout: "second\nsecond\n"})
	w.deploy(t, imageFunction(t, "machine", "host"))
	w.check(t, "machine", "", result{stdout: "host\n\n"})

	r := s.command(t, programs.hermesd, nil, "base", "remove", "small")
	for _, needs := range []string{userName + "/stays:1.0.0", userName + "/follows:1.0.0", "the language cpp"} {
		if r.code == 0 || !strings.Contains(r.stderr, needs) {
			t.Errorf("the removal does not say that %s needs it: exit code %d\n%s", needs, r.code, r.stderr)
		}
	}
	if list := s.operate(t, "base", "list"); !strings.Contains(list.stdout, "small") || !strings.Contains(list.stdout, "(older)") || !strings.Contains(list.stdout, "cpp") {
		t.Errorf("the list is\n%s", list.stdout)
	}

	// What was brought here stays here, and what was not comes anew.
	s.process.stop(t)
	must(t, os.RemoveAll(filepath.Join(s.dir, "watcher", "bases", strings.TrimPrefix(first, "sha256:"))))
	s.up(t)
	w.check(t, "stays", "", result{stdout: "first\nfirst\n"})
	w.check(t, "follows", "", result{stdout: "second\nsecond\n"})

	s.operate(t, "base", "remove", "small", "--force")
	checkViews(t, s.user)
	s.checkEnd(t)
}

// image is the digest of what a base means now.
func (u *user) image(t *testing.T, base string) string {
	t.Helper()
	var rows []struct {
		Digest  string `json:"digest"`
		Current bool   `json:"current"`
	}
	must(t, json.Unmarshal([]byte(u.operate(t, "base", "inspect", base, "-o", "json").stdout), &rows))
	if len(rows) == 0 || !rows[0].Current {
		t.Fatalf("%s has the images %+v", base, rows)
	}
	return rows[0].Digest
}

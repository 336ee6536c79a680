package bundle

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hermes-serverless/hermes/events"
)

// folder writes files (path → content; a path with a trailing slash is a folder).
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		full := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(full, 0o755))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		must(t, os.WriteFile(full, []byte(content), 0o644))
	}
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func rootOf(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	must(t, err)
	t.Cleanup(func() { root.Close() })
	return root
}

func packed(t *testing.T, dir string) ([]byte, events.Blob) {
	t.Helper()
	var b bytes.Buffer
	blob, err := Pack(context.Background(), dir, &b)
	must(t, err)
	if blob.SizeBytes != int64(b.Len()) {
		t.Fatalf("%d bytes are said, %d written", blob.SizeBytes, b.Len())
	}
	return b.Bytes(), blob
}

// tree reads a folder back: path → content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if d.IsDir() {
			got[rel+"/"] = ""
			return nil
		}
		raw, err := os.ReadFile(p)
		got[rel] = string(raw)
		return err
	}))
	return got
}

func TestTheSameFolderGivesTheSameBytes(t *testing.T) {
	files := map[string]string{"hermes.config.json": "{}", "Makefile": "all:", "src/a.cpp": "int", "src-b/x": "1", "empty/": "", "ü": "é"}
	one, two := folder(t, files), folder(t, files)
	must(t, os.Chtimes(filepath.Join(two, "Makefile"), time.Unix(1, 0), time.Unix(1, 0)))
	must(t, os.Chmod(filepath.Join(two, "Makefile"), 0o600))
	_, first := packed(t, one)
	raw, second := packed(t, two)
	if first != second {
		t.Fatalf("%v and %v", first, second)
	}
	must(t, os.Chmod(filepath.Join(two, "Makefile"), 0o700))
	if _, third := packed(t, two); third == second {
		t.Fatal("the executable bit is not kept")
	}
	into := t.TempDir()
	must(t, Extract(context.Background(), bytes.NewReader(raw), rootOf(t, into), Limits{}))
	files["src/"], files["src-b/"] = "", ""
	if diff := cmp.Diff(files, tree(t, into)); diff != "" {
		t.Fatal(diff)
	}
}

func TestIgnoredFilesStayAtHome(t *testing.T) {
	dir := folder(t, map[string]string{
		"hermes.config.json": "{}", ".git/config": "x", "sub/.git": "gitdir: x",
		".gitignore": "*.o\n/build/\n*.json\nmodel.bin\n", ".hermesignore": "*.log\n!model.bin\n",
		"a.o": "", "a.log": "", "model.bin": "m", "build/x": "", "src/build/x": "", "other.json": "",
		"src/.gitignore": "!keep.o\n/only\n", "src/keep.o": "", "src/only": "", "only": "",
	})
	raw, _ := packed(t, dir)
	into := t.TempDir()
	must(t, Extract(context.Background(), bytes.NewReader(raw), rootOf(t, into), Limits{}))
	want := []string{".gitignore", ".hermesignore", "hermes.config.json", "model.bin", "only",
		"src/", "src/.gitignore", "src/build/", "src/build/x", "src/keep.o", "sub/"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(tree(t, into)))); diff != "" {
		t.Fatal(diff)
	}
}

func TestWhatIsNoFileIsNamed(t *testing.T) {
	for kind, put := range map[string]func(string) error{
		"a link":   func(p string) error { return os.Symlink("Makefile", p) },
		"a pipe":   mkfifo,
		"a socket": func(p string) error { l, err := net.Listen("unix", p); closeLater(t, l); return err },
	} {
		dir := folder(t, map[string]string{"Makefile": "x", "d/": ""})
		if err := put(filepath.Join(dir, "d/odd")); err != nil {
			t.Skip(err)
		}
		_, err := Pack(context.Background(), dir, &bytes.Buffer{})
		wantError(t, err, "d/odd", "is "+kind)
	}
}

func closeLater(t *testing.T, l net.Listener) {
	if l != nil {
		t.Cleanup(func() { l.Close() })
	}
}

func wantError(t *testing.T, err error, path, why string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Path != path || !strings.Contains(e.Why, why) {
		t.Errorf("got %v, want an error of %q that says %q", err, path, why)
	}
}

func TestPackRootFollowsLinksToFilesInsideOnly(t *testing.T) {
	dir := folder(t, map[string]string{"real": "content", "d/": ""})
	must(t, os.Chmod(filepath.Join(dir, "real"), 0o755))
	must(t, os.Symlink("../real", filepath.Join(dir, "d/alias")))
	var b bytes.Buffer
	_, err := PackRoot(context.Background(), rootOf(t, dir), &b, Limits{})
	must(t, err)
	into := t.TempDir()
	must(t, Extract(context.Background(), &b, rootOf(t, into), Limits{}))
	if got := tree(t, into)["d/alias"]; got != "content" {
		t.Fatalf("the link is packed as %q", got)
	}
	info, err := os.Lstat(filepath.Join(into, "d/alias"))
	must(t, err)
	if info.Mode() != 0o755 {
		t.Fatalf("its mode is %v", info.Mode())
	}
	for _, target := range []string{"/etc/passwd", "../../../etc/passwd", "d", "nowhere", "loop"} {
		must(t, os.Symlink(target, filepath.Join(dir, "loop")))
		_, err := PackRoot(context.Background(), rootOf(t, dir), &bytes.Buffer{}, Limits{})
		wantError(t, err, "loop", "is a link that does not lead to a file inside")
		must(t, os.Remove(filepath.Join(dir, "loop")))
	}
}

func TestPackLimits(t *testing.T) {
	dir := folder(t, map[string]string{"a": "12345", "b": "67890", "d/e/f": ""})
	for why, limits := range map[string]Limits{
		"has more than 3 files and folders":        {Files: 3},
		"makes the folder larger than 9 bytes":     {TotalBytes: 9},
		"has a path of 5 bytes; at most 4":         {PathBytes: 4},
		"lies more than 2 folders deep":            {Depth: 2},
		"grows to more than 4 times its size when": {Ratio: 4},
	} {
		if limits.Ratio > 0 {
			must(t, os.WriteFile(filepath.Join(dir, "z"), make([]byte, ratioFloor+4<<20), 0o600))
		}
		_, err := PackRoot(context.Background(), rootOf(t, dir), &bytes.Buffer{}, limits)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Why, why) {
			t.Errorf("got %v, want %q", err, why)
		}
		os.Remove(filepath.Join(dir, "z"))
	}
}

func TestPackStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Pack(ctx, folder(t, map[string]string{"a": ""}), &bytes.Buffer{})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

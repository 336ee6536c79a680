package bundle

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kept packs what can be, and reads it back.
func keptOf(t *testing.T, dir string, limits Limits) (Kept, map[string]string) {
	t.Helper()
	var b bytes.Buffer
	k, err := PackKept(t.Context(), rootOf(t, dir), &b, limits)
	must(t, err)
	got := map[string]string{}
	files := int64(0)
	must(t, Walk(t.Context(), &b, limits, func(e Entry, content func(io.Writer) error) error {
		if e.Folder {
			got[e.Name+"/"] = ""
			return nil
		}
		files++
		var text strings.Builder
		err := content(&text)
		got[e.Name] = text.String()
		return err
	}))
	if files != k.Files {
		t.Errorf("%d files are said to be kept, %d are", k.Files, files)
	}
	return k, got
}

// TestKeptOfAnAttack: what could lead out of the folder, or cannot be named, is left out; the rest stays.
func TestKeptOfAnAttack(t *testing.T) {
	dir := folder(t, map[string]string{"a/b/file": "content", "run": "#!/bin/sh", "line\nbreak": "x", "...": "dots", "empty/": ""})
	must(t, os.Chmod(filepath.Join(dir, "run"), 0o755))
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.Symlink("/etc/passwd", at("passwd")))
	must(t, os.Symlink("/etc", at("a/etc")))
	must(t, os.Symlink("a", at("inside")))
	must(t, os.Link(at("a/b/file"), at("hard")))
	must(t, syscall.Mkfifo(at("fifo"), 0o644))
	must(t, os.WriteFile(at("not\xffutf8"), []byte("x"), 0o644))
	must(t, os.WriteFile(at("sparse"), nil, 0o644))
	must(t, os.Truncate(at("sparse"), 1<<40))
	deep := "deep"
	for range 100 {
		deep = filepath.Join(deep, "d")
	}
	must(t, os.MkdirAll(at(deep), 0o755))
	k, got := keptOf(t, dir, Limits{TotalBytes: 1 << 20})
	for name := range got {
		if strings.HasPrefix(name, "deep/") {
			delete(got, name)
		}
	}
	want := map[string]string{
		"a/": "", "a/b/": "", "a/b/file": "content", "hard": "content", "run": "#!/bin/sh", "line\nbreak": "x", "...": "dots", "empty/": "",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("kept (-want +got):\n%s", d)
	}
	// Three links, a pipe, a name, the sparse file, and the folder that lies too deep.
	if k.Left != 7 || !strings.Contains(k.String(), "7 files and folders were left out; the first: ") {
		t.Errorf("left out: %d: %s", k.Left, k)
	}
	if k.Bytes != int64(len("content")*2+len("#!/bin/sh")+1+len("dots")) {
		t.Errorf("%d bytes", k.Bytes)
	}
}

// TestKeptWithinLimits: what is too much is left out, what comes behind it and fits is not.
func TestKeptWithinLimits(t *testing.T) {
	dir := folder(t, map[string]string{"1": "1234", "2": "123456789", "3": "123456"})
	k, got := keptOf(t, dir, Limits{TotalBytes: 10})
	if d := cmp.Diff(map[string]string{"1": "1234", "3": "123456"}, got); d != "" || k.Left != 1 || !strings.Contains(k.String(), `"2" makes`) {
		t.Errorf("kept (-want +got):\n%s\nleft out %d: %s", d, k.Left, k)
	}
	for i := range 2000 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("many", i)), nil, 0o644))
	}
	if k, got := keptOf(t, dir, Limits{Files: 300}); len(got) != 300 || k.Left != 1703 {
		t.Errorf("of 2003 files %d were kept, %d left out", len(got), k.Left)
	}
	if k, got := keptOf(t, dir, Limits{Files: 10}); len(got) != 0 || k.Left != 1 {
		t.Errorf("of a folder with far too many files %d were kept, %d left out: %s", len(got), k.Left, k)
	}
	zeros := folder(t, map[string]string{"zeros": strings.Repeat("\x00", ratioFloor+1<<20)})
	if k, _ := keptOf(t, zeros, Limits{Ratio: 1 << 40}); k.Files != 1 || k.String() != "" {
		t.Errorf("of a file of zeros: %+v", k)
	}
}

func TestKeptIsTheSameWhoeverPacks(t *testing.T) {
	files := map[string]string{"b": "2", "a/c": "3", "a/a": "1"}
	first, _ := keptOf(t, folder(t, files), Limits{})
	second, _ := keptOf(t, folder(t, files), Limits{})
	if first.Archive != second.Archive || first.Archive.Digest == "" {
		t.Errorf("%+v and %+v", first.Archive, second.Archive)
	}
	if empty, got := keptOf(t, t.TempDir(), Limits{}); empty.Files != 0 || len(got) != 0 || empty.Left != 0 {
		t.Errorf("of nothing: %+v, %v", empty, got)
	}
}

func TestKeptStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := PackKept(ctx, rootOf(t, folder(t, map[string]string{"a": "1"})), io.Discard, Limits{}); err == nil {
		t.Error("packed although the context was over")
	}
}

func TestWalkVisitsInOrder(t *testing.T) {
	raw, _ := packed(t, folder(t, map[string]string{"z": "1", "a/b": "22", "a/c/d": "333"}))
	var names []string
	must(t, Walk(t.Context(), bytes.NewReader(raw), Limits{}, func(e Entry, _ func(io.Writer) error) error {
		names = append(names, fmt.Sprint(e.Name, " ", e.SizeBytes))
		return nil
	}))
	if want := []string{"z 1", "a 0", "a/b 2", "a/c 0", "a/c/d 3"}; !slices.Equal(names, want) {
		t.Errorf("visited %q, want %q", names, want)
	}
	if err := Walk(t.Context(), bytes.NewReader(raw[:len(raw)-3]), Limits{}, func(Entry, func(io.Writer) error) error { return nil }); err == nil {
		t.Error("an archive that is cut short was walked to its end")
	}
}

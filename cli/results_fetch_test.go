package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/bundle"
)

// partBytes is how much of an archive the server of these tests sends at once.
const partBytes = 64 << 10

// noise cannot be packed smaller.
func noise() []byte {
	noise := make([]byte, 20*partBytes)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	return noise
}

// packResults makes the archive of files.
func packResults(t *testing.T, content map[string][]byte) (bundle.Kept, []byte) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range content {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var archive bytes.Buffer
	kept, err := bundle.PackKept(t.Context(), root, &archive, bundle.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return kept, archive.Bytes()
}

// serveResults answers with parts of an archive, and counts them.
func serveResults(t *testing.T, archive []byte, left *events.Results) (s *stub, asked *int) {
	t.Helper()
	s, asked = newStub(t), new(int)
	sum := events.NewBlobWriter(io.Discard)
	_, _ = sum.Write(archive)
	blob := sum.Blob()
	left.Archive = &blob
	answer(s, "unused", func(map[string]any) (string, error) { return "", nil })
	err := s.api.Handle(api.OpExecutionFiles, "hermes.api.*."+api.OpExecutionFiles, func(_ context.Context, _ string, raw []byte) (nats.Header, []byte, error) {
		var ask api.ExecutionFiles
		if err := json.Unmarshal(raw, &ask); err != nil {
			return nil, nil, err
		}
		*asked++
		end := min(int(ask.Cursor)+partBytes, len(archive))
		page, err := json.Marshal(api.FilesPage{Results: left, Cursor: uint64(end)})
		return nats.Header{api.HeaderPage: {string(page)}}, archive[ask.Cursor:end], err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, asked
}

// TestFilesAreListedWithoutBeingFetched: the listing before an archive is enough; without one the whole
// archive comes, and the list is the same.
func TestFilesAreListedWithoutBeingFetched(t *testing.T) {
	kept, archive := packResults(t, map[string][]byte{"a.txt": []byte("first\n"), "m/big": noise()})
	var listed [2]string
	for i, c := range []struct {
		archive []byte
		parts   int
	}{{append(bytes.Clone(kept.Listing), archive...), 1}, {archive, (len(archive) + partBytes - 1) / partBytes}} {
		s, asked := serveResults(t, c.archive, &events.Results{Files: kept.Files, Bytes: kept.Bytes, Cut: "1 file was left out"})
		got := s.run("", "execution", "files", "2")
		if listed[i] = got.out; got.code != 0 || *asked != c.parts || got.err != "hermes: not everything was kept: 1 file was left out\n" {
			t.Errorf("code %d, %d parts of %d; %s", got.code, *asked, c.parts, got.err)
		}
		to := t.TempDir()
		if got := s.run("", "execution", "files", "2", "get", "--to", to); got.code != 0 || !strings.Contains(got.out, "m/big") {
			t.Errorf("code %d, %s%s", got.code, got.out, got.err)
		}
	}
	const first = "-rw-r--r--   6 B       sha256:"
	if listed[0] != listed[1] || !strings.Contains(listed[0], first) || !strings.Contains(listed[0], "1.2 MiB") {
		t.Errorf("with a listing\n%swithout\n%s", listed[0], listed[1])
	}
}

// TestFilesAreFetchedAsFarAsTheyAreAskedFor: a file near the beginning of an archive does not cost all of it;
// a folder does, and what is not there.
func TestFilesAreFetchedAsFarAsTheyAreAskedFor(t *testing.T) {
	content := map[string][]byte{"a.txt": []byte("first\n"), "m/big": noise(), "z.txt": []byte("last\n")}
	kept, archive := packResults(t, content)
	s, asked := serveResults(t, archive, &events.Results{Files: kept.Files, Bytes: kept.Bytes, Cut: "1 file was left out"})
	// A block of what is packed is more than one part.
	const few = 3
	all := (len(archive) + partBytes - 1) / partBytes
	for name, c := range map[string]struct {
		get   []string
		files []string
		code  int
		most  int
	}{
		"the first":               {[]string{"a.txt"}, []string{"a.txt"}, 0, few},
		"twice":                   {[]string{"a.txt", "./a.txt"}, []string{"a.txt"}, 0, few},
		"two of them":             {[]string{"z.txt", "a.txt"}, []string{"a.txt", "z.txt"}, 0, few}, // those of folders stand behind them
		"the last":                {[]string{"m/big"}, []string{"m/big"}, 0, all},
		"a folder":                {[]string{"m"}, []string{"m/big"}, 0, all},
		"one that is not there":   {[]string{"a.txt", "none"}, nil, exitNotFound, all},
		"below one that is there": {[]string{"a.txt/b"}, nil, exitNotFound, all},
		"everything":              {nil, []string{"a.txt", "m/big", "z.txt"}, 0, all},
	} {
		t.Run(name, func(t *testing.T) {
			*asked = 0
			to := t.TempDir()
			got := s.run("", append(append([]string{"execution", "files", "2", "get"}, c.get...), "--to", to)...)
			if got.code != c.code || *asked > c.most || c.most == all && *asked < all-1 {
				t.Errorf("code %d, %d parts of %d, %d at most; %s", got.code, *asked, all, c.most, got.err)
			}
			for file, data := range content {
				has, err := os.ReadFile(filepath.Join(to, file))
				wanted := false
				for _, name := range c.files {
					wanted = wanted || name == file
				}
				if (err == nil) != wanted || wanted && !bytes.Equal(has, data) {
					t.Errorf("%s is there: %v, %d bytes", file, err == nil, len(has))
				}
			}
			if c.code == 0 && got.err != "hermes: not everything was kept: 1 file was left out\n" {
				t.Errorf("it notes %q", got.err)
			}
		})
	}
}

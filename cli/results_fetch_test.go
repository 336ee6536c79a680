package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/bundle"
)

// TestFilesAreFetchedAsFarAsTheyAreAskedFor: a file near the beginning of an archive does not cost all of it;
// a folder does, and what is not there.
func TestFilesAreFetchedAsFarAsTheyAreAskedFor(t *testing.T) {
	const partBytes = 64 << 10
	noise := make([]byte, 20*partBytes) // which cannot be packed smaller
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	dir := t.TempDir()
	content := map[string][]byte{"a.txt": []byte("first\n"), "m/big": noise, "z.txt": []byte("last\n")}
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
	left := &events.Results{Archive: &kept.Archive, Files: 3, Bytes: int64(len(noise) + 11), Cut: "1 file was left out"}
	s, asked := newStub(t), 0
	answer(s, "unused", func(map[string]any) (string, error) { return "", nil })
	err = s.api.Handle(api.OpExecutionFiles, "hermes.api.*."+api.OpExecutionFiles, func(_ context.Context, _ string, raw []byte) (nats.Header, []byte, error) {
		var ask api.ExecutionFiles
		if err := json.Unmarshal(raw, &ask); err != nil {
			return nil, nil, err
		}
		asked++
		end := min(int(ask.Cursor)+partBytes, archive.Len())
		page, err := json.Marshal(api.FilesPage{Results: left, Cursor: uint64(end)})
		return nats.Header{api.HeaderPage: {string(page)}}, archive.Bytes()[ask.Cursor:end], err
	})
	if err != nil {
		t.Fatal(err)
	}
	// A block of what is packed is more than one part.
	const few = 3
	all := (archive.Len() + partBytes - 1) / partBytes
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
			asked = 0
			to := t.TempDir()
			got := s.run("", append(append([]string{"execution", "files", "2", "get"}, c.get...), "--to", to)...)
			if got.code != c.code || asked > c.most || c.most == all && asked < all-1 {
				t.Errorf("code %d, %d parts of %d, %d at most; %s", got.code, asked, all, c.most, got.err)
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

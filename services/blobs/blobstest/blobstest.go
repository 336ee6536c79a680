// Package blobstest keeps blobs in memory, for tests of those who read and write a store.
package blobstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/blobs"
	"github.com/hermes-serverless/hermes/services/bundle"
)

// Memory is a store, and a cache of unpacked artifacts. Its methods may be called from many goroutines.
type Memory struct {
	mu      sync.Mutex
	content map[string][]byte
	dirs    map[string]string
}

// New returns a store with nothing in it.
func New() *Memory { return &Memory{content: map[string][]byte{}, dirs: map[string]string{}} }

// Blob is what the content is called.
func Blob(content []byte) events.Blob {
	sum := sha256.Sum256(content)
	return events.Blob{Digest: "sha256:" + hex.EncodeToString(sum[:]), SizeBytes: int64(len(content))}
}

// Add keeps the content.
func (m *Memory) Add(content []byte) events.Blob {
	m.mu.Lock()
	defer m.mu.Unlock()
	blob := Blob(content)
	m.content[blob.Digest] = content
	return blob
}

// Len is how many contents there are.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.content)
}

// Folder makes a folder the artifact of a name that it makes up.
func (m *Memory) Folder(dir string) events.Blob {
	blob := Blob([]byte(dir))
	m.Unpack(blob, dir)
	return blob
}

// Unpack makes a folder the artifact's.
func (m *Memory) Unpack(artifact events.Blob, dir string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dirs[artifact.Digest] = dir
}

// Get is that of a blobs.Store.
func (m *Memory) Get(_ context.Context, blob events.Blob, to io.Writer) error {
	m.mu.Lock()
	content, ok := m.content[blob.Digest]
	m.mu.Unlock()
	if !ok {
		return blobs.ErrNoBlob
	}
	_, err := to.Write(content)
	return err
}

// Put is that of a blobs.Store.
func (m *Memory) Put(_ context.Context, blob events.Blob, r io.Reader) error {
	content, err := io.ReadAll(r)
	if err == nil && m.Add(content) != blob {
		err = fmt.Errorf("not the blob %s", blob.Digest)
	}
	return err
}

// Dir is that of a blobs.Cache.
func (m *Memory) Dir(_ context.Context, blob events.Blob) (string, func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, ok := m.dirs[blob.Digest]
	if !ok {
		return "", nil, blobs.ErrNoBlob
	}
	return dir, func() {}, nil
}

// Bundle keeps a bundle of files; a name that ends in "!" is executable.
func (m *Memory) Bundle(t testing.TB, files map[string]string) events.Blob {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		mode := os.FileMode(0o644)
		if strings.HasSuffix(name, "!") {
			name, mode = strings.TrimSuffix(name, "!"), 0o755
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return m.BundleOf(t, dir)
}

// BundleOf keeps a bundle of a folder.
func (m *Memory) BundleOf(t testing.TB, dir string) events.Blob {
	t.Helper()
	var archive bytes.Buffer
	if _, err := bundle.Pack(t.Context(), dir, &archive); err != nil {
		t.Fatal(err)
	}
	return m.Add(archive.Bytes())
}

package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/jsm.go/api"
)

// copyFile copies a file into one that only its owner can read.
func copyFile(from, to string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	defer clear(raw)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return writeSynced(to, raw)
}

func writeSynced(file string, raw []byte) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	return errors.Join(err, f.Sync(), f.Close())
}

// sumAll sums up all files below the folder, brings them to disk and takes them from others' eyes.
func sumAll(dir string) ([]File, error) {
	var all []File
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, err := sum(path, true)
		f.Path = filepath.ToSlash(rel)
		all = append(all, f)
		return err
	})
	return all, err
}

func sum(path string, sync bool) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	if sync {
		if err := f.Sync(); err != nil {
			return File{}, err
		}
	}
	h := sha256.New()
	n, err := io.Copy(h, f)
	return File{Bytes: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

// Check reads every file of a backup and compares it with its sum. Errors: ErrNoBackup, and ErrDamaged
// with the name of the first file that is not what it was.
func Check(dir string) (Manifest, error) {
	m, err := Read(dir)
	if err != nil {
		return m, err
	}
	for _, want := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(want.Path)) {
			return m, fmt.Errorf("%w: %s names the file %q, which is not below it", ErrDamaged, manifestFile, want.Path)
		}
		path := filepath.Join(dir, filepath.FromSlash(want.Path))
		got, err := sum(path, false)
		got.Path = want.Path
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return m, fmt.Errorf("%w: %s is missing", ErrDamaged, path)
		case err != nil:
			return m, err
		case got.Bytes != want.Bytes:
			return m, fmt.Errorf("%w: %s has %d bytes and should have %d", ErrDamaged, path, got.Bytes, want.Bytes)
		case got != want:
			return m, fmt.Errorf("%w: %s is not what was written: its SHA-256 is %.12s…, not %.12s…", ErrDamaged, path, got.SHA256, want.SHA256)
		}
	}
	return m, nil
}

// meta is what a snapshot says of its stream.
type meta struct {
	Config api.StreamConfig `json:"config"`
	State  api.StreamState  `json:"state"`
}

func readMeta(dir string) (m meta, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, jsm.SnapshotMetaFile))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("%w: %s: %w", ErrDamaged, filepath.Join(dir, jsm.SnapshotMetaFile), err)
	}
	return m, nil
}

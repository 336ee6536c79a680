package natsctx

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Change are fields of a context's file by their names there; a nil value removes one. What is not
// named stays as it is, also what only the nats tool knows.
type Change map[string]any

// Save changes the context of this name below configDir, or makes it. The file is the owner's alone.
func Save(configDir, name string, change Change) error {
	if !validName(name) {
		return fmt.Errorf("%q cannot be the name of a NATS context", name)
	}
	path, fields := Path(configDir, name), map[string]any{}
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &fields)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the NATS context %s is not valid: %w", name, err)
	}
	for key, value := range change {
		if value == nil {
			delete(fields, key)
		} else {
			fields[key] = value
		}
	}
	if raw, err = json.MarshalIndent(fields, "", "  "); err != nil {
		return fmt.Errorf("encode the NATS context %s: %w", name, err)
	}
	return WriteFile(path, append(raw, '\n'))
}

// WriteFile writes a file that only its owner can read, and never leaves half of one.
func WriteFile(path string, content []byte) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

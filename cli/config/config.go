// Package config keeps the few settings of the CLI, in config.json below the user's configuration
// folder. The file is written whole and renamed into place, readable by its owner only.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Keys are the settings that exist, in the order in which they are shown.
func Keys() []string { return []string{KeyContext, KeyOutput} }

const (
	// KeyContext is the NATS context in use.
	KeyContext = "context"
	// KeyOutput is the format that --output has when it is not given.
	KeyOutput = "output"
)

// UnknownKeyError names a key that is no setting.
type UnknownKeyError struct{ Key string }

// Error names the settings that there are.
func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("%q is not a setting; the settings are %s", e.Key, strings.Join(Keys(), ", "))
}

// Config is the content of the file. Settings that are not set are not in it.
type Config map[string]string

// Dir is the folder for the configuration of programs: XDG_CONFIG_HOME, else ~/.config on every
// system, as the nats tool has it.
func Dir() (string, error) {
	if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the home folder: %w", err)
	}
	return filepath.Join(home, ".config"), nil
}

// Path is where the file is.
func Path() (string, error) {
	dir, err := Dir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "hermes", "config.json"), nil
}

// Load reads the file. One that is not there is an empty Config.
func Load() (Config, error) {
	path, err := Path()
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	c := Config{}
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("%s: is not a JSON object of strings: %w", path, err)
	}
	return c, nil
}

// Check returns an UnknownKeyError unless key is a setting.
func Check(key string) error {
	for _, k := range Keys() {
		if k == key {
			return nil
		}
	}
	return &UnknownKeyError{Key: key}
}

// Set changes one setting; an empty value removes it. Save makes it last.
func (c Config) Set(key, value string) error {
	if err := Check(key); err != nil {
		return err
	}
	if value == "" {
		delete(c, key)
		return nil
	}
	c[key] = value
	return nil
}

// Save writes the file.
func (c Config) Save() error {
	path, err := Path()
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the configuration: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return replace(path, append(raw, '\n'))
}

// replace never leaves half a file: os.CreateTemp makes it 0600.
func replace(path string, raw []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".config-*")
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(raw)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}

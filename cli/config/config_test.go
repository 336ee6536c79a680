package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestSettingsLast(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	c, err := Load()
	if err != nil || len(c) != 0 {
		t.Fatalf("loaded %v, %v", c, err)
	}
	if err := errors.Join(c.Set(KeyContext, "lab"), c.Set(KeyOutput, "json"), c.Save()); err != nil {
		t.Fatal(err)
	}
	c, err = Load()
	if err != nil || c[KeyContext] != "lab" || c[KeyOutput] != "json" {
		t.Fatalf("loaded %v, %v", c, err)
	}
	if err := errors.Join(c.Set(KeyOutput, ""), c.Save()); err != nil {
		t.Fatal(err)
	}
	if c, err = Load(); err != nil || len(c) != 1 {
		t.Errorf("loaded %v, %v", c, err)
	}
	var unknown *UnknownKeyError
	if err := c.Set("colour", "blue"); !errors.As(err, &unknown) || unknown.Key != "colour" {
		t.Errorf("got %v", err)
	}
	path, _ := Path()
	if entries, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(entries) != 1 {
		t.Errorf("there is more than the file: %v", entries)
	}
}

func TestBrokenFileIsNamed(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	path, _ := Path()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(`{"context": 5}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(); err == nil {
		t.Error("no error")
	}
}

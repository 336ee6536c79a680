package e2e

import (
	"embed"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

//go:embed testdata/acts
var actsFiles embed.FS

// writeActs makes the folder of a function named name, whose program does what its input says.
func writeActs(t *testing.T, name string, more map[string]any) string {
	t.Helper()
	files := map[string]string{}
	entries, err := actsFiles.ReadDir("testdata/acts")
	must(t, err)
	for _, entry := range entries {
		raw, err := actsFiles.ReadFile(path.Join("testdata/acts", entry.Name()))
		must(t, err)
		files[entry.Name()] = string(raw)
	}
	return writeFunction(t, name, "a.out", files, more)
}

// writeFunction makes the folder of a function; more are further keys of its configuration.
func writeFunction(t *testing.T, name, handler string, files map[string]string, more map[string]any) string {
	t.Helper()
	dir := t.TempDir()
	config := map[string]any{
		"functionName": name, "language": "cpp", "gpuCapable": false, "functionVersion": "1.0.0", "handler": "./" + handler,
	}
	for key, value := range more {
		config[key] = value
	}
	raw, err := json.MarshalIndent(config, "", "  ")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "hermes.config.json"), raw, 0o644))
	for file, text := range files {
		must(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
	}
	return dir
}

// printed is what the act "print BYTES SEED" prints.
func printed(bytes int, seed uint64) string {
	var b strings.Builder
	b.Grow(bytes)
	for i := range bytes {
		seed = seed*6364136223846793005 + 1442695040888963407
		if i%80 == 79 {
			b.WriteByte('\n')
		} else {
			b.WriteByte('a' + byte((seed>>33)%26))
		}
	}
	return b.String()
}

// numbered are lines as "both" and "drip" print them.
func numbered(word string, lines int) string {
	var b strings.Builder
	for i := range lines {
		fmt.Fprintf(&b, "%s %d\n", word, i+1)
	}
	return b.String()
}

// summed is what the act "sum" prints of what stands behind its line.
func summed(content []byte) string {
	h := fnv.New64a()
	_, _ = h.Write(content)
	return fmt.Sprintf("%d %016x\n", len(content), h.Sum64())
}

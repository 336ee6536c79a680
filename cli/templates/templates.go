// Package templates holds the functions that `hermes function init` starts from.
package templates

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// The files of a template lie in a folder with its name; "common" is in every one.
//
//go:embed all:common all:cpp all:cuda all:pi-montecarlo all:waiter all:char-printer all:reduce-sum all:gpu-pi-montecarlo
var files embed.FS

// Template is one to start from.
type Template struct {
	Name     string `json:"name"`
	Language string `json:"language"`
	GPU      bool   `json:"gpuCapable"`
	Short    string `json:"description"`
}

// All lists the templates; the plain ones are named after their languages.
func All() []Template {
	return []Template{
		{"cpp", "cpp", false, "plain C++: prints its input"},
		{"cuda", "cuda", true, "plain CUDA: names the GPU it runs on"},
		{"pi-montecarlo", "cpp", false, "input: a number of points; estimates pi on every core"},
		{"waiter", "cpp", false, `input: "i t"; prints a line every i seconds for t seconds`},
		{"char-printer", "cpp", false, `input: "c n"; prints the character c n times`},
		{"reduce-sum", "cpp", false, "input: numbers; prints their sum"},
		{"gpu-pi-montecarlo", "cuda", true, "input: a number of points; estimates pi on the GPU"},
	}
}

// Names lists the templates' names.
func Names() []string {
	var names []string
	for _, t := range All() {
		names = append(names, t.Name)
	}
	return names
}

// Plain is the name of the template that a language starts from.
func Plain(language string) string { return language }

// Get finds a template.
func Get(name string) (Template, bool) {
	for _, t := range All() {
		if t.Name == name {
			return t, true
		}
	}
	return Template{}, false
}

// Write puts the template's files into a folder that exists.
func (t Template) Write(dir string) error {
	for _, folder := range []string{"common", t.Name} {
		entries, err := fs.ReadDir(files, folder)
		if err != nil {
			return fmt.Errorf("read the template %s: %w", t.Name, err)
		}
		for _, entry := range entries {
			raw, err := files.ReadFile(path.Join(folder, entry.Name()))
			if err != nil {
				return fmt.Errorf("read the template %s: %w", t.Name, err)
			}
			if err := os.WriteFile(filepath.Join(dir, entry.Name()), raw, 0o644); err != nil {
				return fmt.Errorf("write the function: %w", err)
			}
		}
	}
	return nil
}

// Package manifest reads and writes hermes.config.json, the file that makes a folder a function.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hermes-serverless/hermes/events"
)

// FileName is the name of the file, at the top of the function's folder.
const FileName = "hermes.config.json"

// MaxBytes bounds the file: Parse refuses a longer one. It leaves room for all that args and env may
// be, however the file writes it.
const MaxBytes = 2 * maxRunBytes

// Manifest is what the file says.
type Manifest struct {
	Name    string
	Version string
	// Config has its handler cleaned: "./a.out" is "a.out". Limits that the file does not name
	// are 0.
	Config events.FunctionConfig
	// Base is the name of what it is to be built and run on; empty is the operator's choice.
	Base string
	// NetworkLine is the line of the key network, which an operator may not allow; 0 without it.
	NetworkLine int
}

// Parse reads the file's content. Its error is an *Error with every problem of the file.
func Parse(raw []byte) (Manifest, error) {
	p := parser{raw: bytes.TrimPrefix(raw, []byte("\uFEFF"))}
	if len(raw) > MaxBytes {
		p.problem(0, "", fmt.Sprintf("is %d bytes long; at most %d are allowed", len(raw), MaxBytes))
		return Manifest{}, p.err()
	}
	if !p.isObject() {
		return Manifest{}, p.err()
	}
	m := Manifest{Config: events.FunctionConfig{Scope: defaultScope}}
	p.readInto(&m)
	if err := p.err(); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

type parser struct {
	raw      []byte
	problems []Problem
}

// isObject checks the syntax first, so that what follows can rely on it.
func (p *parser) isObject() bool {
	var whole json.RawMessage
	err := json.Unmarshal(p.raw, &whole)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		line, column := p.position(syntax.Offset - 1)
		p.problem(line, "", fmt.Sprintf("is not JSON: column %d: %v", column, err))
		return false
	case err != nil:
		p.problem(1, "", "is not JSON: "+err.Error())
		return false
	}
	if kind := kindOf(whole); kind != "an object" {
		p.problem(1, "", "must be an object in { }, is "+kind)
		return false
	}
	return true
}

// readInto returns the line of each key.
func (p *parser) readInto(m *Manifest) map[string]int {
	fields := fields()
	lines := map[string]int{}
	d := json.NewDecoder(bytes.NewReader(p.raw))
	d.Token() // the {
	for d.More() {
		token, _ := d.Token()
		key, _ := token.(string)
		line, _ := p.position(d.InputOffset() - 1)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			p.problem(line, key, err.Error())
			return lines
		}
		if first, again := lines[key]; again {
			p.problem(line, key, fmt.Sprintf("is there twice, first on line %d", first))
			continue
		}
		lines[key] = line
		f, known := fieldOf(fields, key)
		if !known {
			meant, message := unknown(namesOf(fields), key)
			p.problem(line, key, message)
			lines[meant] = line // not missing: misspelt
			continue
		}
		p.refused(key, line, d.InputOffset()-int64(len(value)), f.read(m, value))
		if key == "network" && m.Config.Network != "" {
			m.NetworkLine = line
		}
	}
	for _, f := range fields {
		if _, there := lines[f.name]; !there && f.required {
			p.problem(0, f.name, "is missing, "+f.example)
		}
	}
	if m.Config.GPU != nil && !m.Config.GPUCapable && lines["gpuCapable"] > 0 {
		p.problem(lines["gpu"], "gpu", "asks for GPUs, but gpuCapable is false: set it to true, or leave gpu out")
	}
	return lines
}

// refused notes what a key's reader says of its value, which begins at the offset.
func (p *parser) refused(key string, line int, offset int64, err error) {
	var parts parts
	switch {
	case errors.As(err, &parts):
		for _, part := range parts {
			line, _ := p.position(offset + part.offset)
			p.problem(line, key, part.message)
		}
	case err != nil:
		p.problem(line, key, err.Error())
	}
}

func (p *parser) problem(line int, field, message string) {
	p.problems = append(p.problems, Problem{Line: line, Field: field, Message: message})
}

// position turns an offset into a line and a column, both from 1.
func (p *parser) position(offset int64) (line, column int) {
	before := p.raw[:max(0, min(offset, int64(len(p.raw))))]
	return bytes.Count(before, []byte("\n")) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}

package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode"
)

// maxHandlerBytes is that of a file's name. All versions of a function lie in one message, each with
// its handler, in which a character may take 6 bytes.
const maxHandlerBytes = 255

func readHandler(m *Manifest, raw json.RawMessage) error {
	s, err := text(raw)
	if err != nil {
		return err
	}
	m.Config.Handler, err = cleanHandler(s)
	return err
}

// cleanHandler returns the slash path below the function's folder that s names.
func cleanHandler(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("is empty; it names the file to execute")
	case len(s) > maxHandlerBytes:
		return "", fmt.Errorf("is %d bytes long; at most %d are allowed", len(s), maxHandlerBytes)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", fmt.Errorf("%q has a control character in it", s)
	case strings.Contains(s, `\`):
		return "", fmt.Errorf(`%q must be written with "/", not with "\"`, s)
	case strings.HasSuffix(s, "/"):
		return "", fmt.Errorf("%q must be a file, not a folder", s)
	case path.IsAbs(s):
		return "", fmt.Errorf("%q must be relative to the function's folder", s)
	}
	clean := path.Clean(s)
	if clean == "." {
		return "", fmt.Errorf("%q must be a file, not the folder itself", s)
	}
	if !fs.ValidPath(clean) {
		return "", fmt.Errorf("%q must stay inside the function's folder", s)
	}
	return clean, nil
}

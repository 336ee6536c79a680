package bundle

import (
	"io"
	"os"
	"path"

	"github.com/git-pkgs/gitignore"
)

// manifestName is never left out: an archive without it is no function.
const manifestName = "hermes.config.json"

const maxIgnoreBytes = 1 << 20

// ignore knows what of a source folder stays at home.
type ignore struct {
	// hermes decides where it says anything, git otherwise: .hermesignore may bring back what
	// .gitignore leaves out, such as a model that is too large for git.
	hermes, git gitignore.Matcher
}

// load reads the ignore files of one folder.
func (i *ignore) load(root *os.Root, dir string) error {
	for name, m := range map[string]*gitignore.Matcher{".hermesignore": &i.hermes, ".gitignore": &i.git} {
		file := path.Join(dir, name)
		info, err := root.Lstat(file)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		raw, err := readSmall(root, file)
		if err != nil {
			return err
		}
		scope := dir
		if scope == "." {
			scope = ""
		}
		m.AddPatterns(raw, scope)
	}
	return nil
}

func readSmall(root *os.Root, name string) ([]byte, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxIgnoreBytes+1))
	if err == nil && len(raw) > maxIgnoreBytes {
		err = wrong(name, "is larger than %d bytes", maxIgnoreBytes)
	}
	return raw, err
}

func (i *ignore) match(name string, isDir bool) bool {
	if i == nil || name == manifestName {
		return false
	}
	if path.Base(name) == ".git" {
		return true
	}
	asked := name
	if isDir {
		asked += "/"
	}
	if r := i.hermes.MatchDetail(asked); r.Matched {
		return r.Ignored
	}
	return i.git.MatchDetail(asked).Ignored
}

package base_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/hermes-serverless/hermes/services/base"
)

// entry is one header of a layer; text is a file's content.
type entry struct {
	tar.Header
	text string
}

func file(name, text string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o640}, text}
}
func folder(name string) entry {
	return entry{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o700}, ""}
}
func symlink(name, to string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}, ""}
}
func hardlink(name, to string) entry {
	return entry{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}, ""}
}
func kind(flag byte, name string) entry {
	return entry{tar.Header{Typeflag: flag, Name: name, Mode: 0o666}, ""}
}

func layer(t *testing.T, entries ...entry) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.Size = int64(len(e.text))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close(); unlock(dir) })
	return root
}

// unlock lets a folder be removed that was made read-only.
func unlock(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return err
	})
}

// look lists what a folder holds, but for what every base has: files with their content, links with
// their targets, folders with a slash.
func look(t *testing.T, root *os.Root) []string {
	t.Helper()
	var all []string
	own := []string{"dev", "proc", "sys", "tmp", "function", ".hermes"}
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case slices.Contains(own, name):
			return fs.SkipDir
		case name == "etc" || strings.HasPrefix(name, "etc/"):
			return nil
		case d.IsDir():
			all = append(all, name+"/")
		case d.Type()&fs.ModeSymlink != 0:
			to, err := root.Readlink(name)
			all = append(all, name+" -> "+to)
			return err
		default:
			text, err := root.ReadFile(name)
			all = append(all, name+"="+string(text))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLayers(t *testing.T) {
	for name, c := range map[string]struct {
		layers [][]entry
		want   []string
	}{
		"a file replaces a file": {[][]entry{{file("a", "1")}, {file("a", "2")}}, []string{"a=2"}},
		"folders are laid over each other": {
			[][]entry{{folder("d"), file("d/a", "1")}, {folder("d"), file("d/b", "2")}}, []string{"d/", "d/a=1", "d/b=2"}},
		"a folder that nobody lists": {[][]entry{{file("d/e/a", "1")}}, []string{"d/", "d/e/", "d/e/a=1"}},
		"a file is taken away":       {[][]entry{{file("d/a", "1"), file("d/b", "1")}, {file("d/.wh.a", "")}}, []string{"d/", "d/b=1"}},
		"a folder is taken away":     {[][]entry{{file("d/e/a", "1"), file("b", "1")}, {file(".wh.d", "")}}, []string{"b=1"}},
		"what was never there":       {[][]entry{{file("b", "1")}, {file(".wh.d", ""), file("x/.wh.y", "")}}, []string{"b=1", "x/"}},
		"an opaque folder": {
			[][]entry{{file("d/a", "1"), file("d/e/b", "1")}, {folder("d"), file("d/.wh..wh..opq", ""), file("d/c", "2")}}, []string{"d/", "d/c=2"}},
		"an opaque folder whose mark comes last": {
			[][]entry{{file("d/a", "1"), file("d/e/b", "1")}, {file("d/e/c", "2"), file("d/c", "2"), file("d/.wh..wh..opq", "")}}, []string{"d/", "d/c=2", "d/e/", "d/e/c=2"}},
		"taken away and made anew, in any order": {
			[][]entry{{file("d/a", "1")}, {file("d/b", "2"), file(".wh.d", "")}}, []string{"d/", "d/b=2"}},
		"a file in place of a folder":   {[][]entry{{file("d/a", "1")}, {file("d", "2")}}, []string{"d=2"}},
		"a folder in place of a file":   {[][]entry{{file("d", "1")}, {folder("d"), file("d/a", "2")}}, []string{"d/", "d/a=2"}},
		"a folder in place of a link":   {[][]entry{{symlink("d", "/e"), folder("e")}, {folder("d"), file("d/a", "2")}}, []string{"d/", "d/a=2", "e/"}},
		"a link in place of a folder":   {[][]entry{{file("d/a", "1")}, {symlink("d", "e")}}, []string{"d -> e"}},
		"through a relative link":       {[][]entry{{folder("usr/lib"), symlink("lib", "usr/lib")}, {file("lib/a", "2")}}, []string{"lib -> usr/lib", "usr/", "usr/lib/", "usr/lib/a=2"}},
		"through an absolute link":      {[][]entry{{folder("run"), symlink("var/run", "/run")}, {file("var/run/a", "2")}}, []string{"run/", "run/a=2", "var/", "var/run -> /run"}},
		"taken away behind a link":      {[][]entry{{file("run/a", "1"), symlink("var", "/run")}, {file("var/.wh.a", "")}}, []string{"run/", "var -> /run"}},
		"a hard link":                   {[][]entry{{file("a", "1"), hardlink("b", "a")}}, []string{"a=1", "b=1"}},
		"a hard link keeps its content": {[][]entry{{file("a", "1"), hardlink("b", "a")}, {file("a", "2")}}, []string{"a=2", "b=1"}},
		"a hard link to a lower layer":  {[][]entry{{file("a", "1")}, {hardlink("b", "/a")}}, []string{"a=1", "b=1"}},
		"a hard link to a link":         {[][]entry{{symlink("a", "x"), hardlink("b", "a")}}, []string{"a -> x", "b -> x"}},
		"names as tools write them":     {[][]entry{{folder("./"), file("./a", "1"), file("/b", "2")}}, []string{"a=1", "b=2"}},
		"devices are left out":          {[][]entry{{kind(tar.TypeChar, "null"), kind(tar.TypeBlock, "sda"), kind(tar.TypeFifo, "p"), file("a", "1")}}, []string{"a=1"}},
		"a link that leads out":         {[][]entry{{symlink("a", "../../../etc/passwd")}}, []string{"a -> ../../../etc/passwd"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := openRoot(t, t.TempDir())
			tree := base.NewTree(root, base.Limits{})
			for _, entries := range c.layers {
				if err := tree.Layer(t.Context(), layer(t, entries...)); err != nil {
					t.Fatal(err)
				}
			}
			if err := tree.Finish(); err != nil {
				t.Fatal(err)
			}
			if got := look(t, root); !slices.Equal(got, c.want) {
				t.Errorf("the tree is %q, want %q", got, c.want)
			}
		})
	}
}

// TestEvilLayers: nothing outside is written, whatever a layer says, and it is said what is wrong.
func TestEvilLayers(t *testing.T) {
	long := strings.Repeat("x/", 200) + "a"
	for name, c := range map[string]struct {
		entries []entry
		limits  base.Limits
		want    string
	}{
		"dots":                        {entries: []entry{file("../out", "x")}, want: `"../out" in the root filesystem leads out of it`},
		"dots inside":                 {entries: []entry{file("a/../../out", "x")}, want: "leads out"},
		"a whiteout of dots":          {entries: []entry{file("a/b/c", "x"), file("a/b/.wh...", "")}, want: "takes away"},
		"a whiteout of a dot":         {entries: []entry{file("a/.wh..", "")}, want: "takes away"},
		"a whiteout of nothing":       {entries: []entry{file("a/.wh.", "")}, want: "takes away"},
		"behind a link out":           {entries: []entry{symlink("l", "../.."), file("l/out", "x")}, want: ""},
		"behind an absolute link":     {entries: []entry{symlink("l", "/"), file("l/../out", "x")}, want: "leads out"},
		"a circle":                    {entries: []entry{symlink("a", "b"), symlink("b", "a"), file("a/x", "x")}, want: "circle"},
		"a hard link out":             {entries: []entry{hardlink("l", "../../../../etc/passwd")}, want: "leads out"},
		"a hard link behind a link":   {entries: []entry{symlink("l", "/etc"), hardlink("p", "l/passwd")}, want: "not there"},
		"a hard link to a folder":     {entries: []entry{folder("d"), hardlink("l", "d")}, want: "no file"},
		"a hard link to nothing":      {entries: []entry{hardlink("l", "d")}, want: "not there"},
		"beneath a file":              {entries: []entry{file("a", "x"), file("a/b", "y")}, want: "no folder"},
		"too deep":                    {entries: []entry{file(long, "x")}, want: "deeper than 128"},
		"a long part":                 {entries: []entry{file(strings.Repeat("x", 300), "x")}, want: "too long"},
		"too long":                    {entries: []entry{file(strings.Repeat("x/", 3000)+"a", "x")}, want: "at most 4096"},
		"too many":                    {entries: []entry{file("a", ""), file("b", ""), file("c", "")}, limits: base.Limits{Files: 2}, want: "more than 2 files"},
		"too large":                   {entries: []entry{file("a", "xxx"), file("b", "xxx")}, limits: base.Limits{Bytes: 5}, want: "more than 5 bytes"},
		"one of no kind":              {entries: []entry{kind('Z', "a")}, want: `of a kind ("Z")`},
		"mount points that are links": {entries: []entry{symlink("tmp", "/out"), symlink("proc", "../../out"), symlink("function", "/etc"), symlink(".hermes", "/etc"), symlink("etc", "../out")}},
		"files of etc that are links": {entries: []entry{symlink("etc/passwd", "/out"), symlink("etc/resolv.conf", "../../../out")}},
	} {
		t.Run(name, func(t *testing.T) {
			around := t.TempDir()
			inside := filepath.Join(around, "x", "root")
			if err := os.MkdirAll(inside, 0o755); err != nil {
				t.Fatal(err)
			}
			tree := base.NewTree(openRoot(t, inside), c.limits)
			err := tree.Layer(t.Context(), layer(t, c.entries...))
			if err == nil {
				err = tree.Finish()
			}
			var known *base.Error
			if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &known) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			for dir, want := range map[string]string{around: "x", filepath.Join(around, "x"): "root"} {
				if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != want {
					t.Errorf("%s now holds %v, %v", dir, entries, err)
				}
			}
		})
	}
}

func TestACutLayer(t *testing.T) {
	raw, _ := io.ReadAll(layer(t, file("a", strings.Repeat("x", 3000))))
	for _, n := range []int{600, 1000, 100} {
		err := base.NewTree(openRoot(t, t.TempDir()), base.Limits{}).Layer(t.Context(), bytes.NewReader(raw[:n]))
		if err == nil {
			t.Errorf("a layer cut at %d bytes is unpacked", n)
		}
	}
}

func TestModes(t *testing.T) {
	root := openRoot(t, t.TempDir())
	tree := base.NewTree(root, base.Limits{})
	setuid := entry{tar.Header{Typeflag: tar.TypeReg, Name: "bin/su", Mode: 0o4755, Uid: 7, Gid: 7}, "x"}
	secret := entry{tar.Header{Typeflag: tar.TypeReg, Name: "etc/shadow", Mode: 0o600}, "x"}
	if err := tree.Layer(t.Context(), layer(t, setuid, secret, entry{tar.Header{Typeflag: tar.TypeDir, Name: "root", Mode: 0o700}, ""})); err != nil {
		t.Fatal(err)
	}
	if err := tree.Finish(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		"bin/su": 0o555, "etc/shadow": 0o444, "root": fs.ModeDir | 0o555, "bin": fs.ModeDir | 0o555, ".": fs.ModeDir | 0o555,
		"tmp": fs.ModeDir | 0o555, "etc/passwd": 0o444, ".hermes/init": 0o444,
	} {
		info, err := root.Lstat(name)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
			continue
		}
		if owner := info.Sys().(*syscall.Stat_t); int(owner.Uid) != os.Geteuid() {
			t.Errorf("%s belongs to %d", name, owner.Uid)
		}
	}
}

// filled is a tree with one of each kind.
func filled(t *testing.T) *os.Root {
	root := openRoot(t, t.TempDir())
	tree := base.NewTree(root, base.Limits{})
	old := file("lib/old", "1")
	old.ModTime = time.Unix(1e9, 0)
	err := tree.Layer(t.Context(), layer(t, old, hardlink("lib/same", "lib/old"), symlink("l", "/lib"), folder("empty"),
		entry{tar.Header{Typeflag: tar.TypeReg, Name: "bin/run", Mode: 0o755}, "#!/bin/sh"}))
	if err == nil {
		err = tree.Finish()
	}
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestPackAndUnpack(t *testing.T) {
	m := base.Manifest{Architecture: "amd64", Env: []string{"PATH=/bin", "A=é"}}
	root := filled(t)
	var first, second bytes.Buffer
	packed, err := base.Pack(t.Context(), root, m, &first)
	if err != nil {
		t.Fatal(err)
	}
	again, err := base.Pack(t.Context(), filled(t), m, &second)
	if err != nil || again != packed || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("packed as %+v and then as %+v, %v", packed, again, err)
	}
	if packed.SizeBytes != int64(first.Len()) || packed.Files == 0 || packed.UnpackedBytes == 0 {
		t.Errorf("%+v of %d bytes", packed, first.Len())
	}
	dir := t.TempDir()
	into := openRoot(t, dir)
	if err := base.Unpack(t.Context(), &first, into); err != nil {
		t.Fatal(err)
	}
	unpacked, err := into.OpenRoot(base.RootFS)
	if err != nil {
		t.Fatal(err)
	}
	defer unpacked.Close()
	if got, want := look(t, unpacked), look(t, root); !slices.Equal(got, want) {
		t.Errorf("unpacked %q, want %q", got, want)
	}
	a, _ := unpacked.Lstat("lib/old")
	b, _ := unpacked.Lstat("lib/same")
	if !os.SameFile(a, b) || a.ModTime().Unix() != 1e9 {
		t.Errorf("lib/old of %v and lib/same are two files", a.ModTime())
	}
	if info, err := unpacked.Lstat("bin/run"); err != nil || info.Mode() != 0o555 {
		t.Errorf("bin/run: %v, %v", info.Mode(), err)
	}
	if got, err := base.ReadManifest(dir); err != nil || fmt.Sprint(got) != fmt.Sprint(m) {
		t.Errorf("the manifest is %+v, %v", got, err)
	}
	if info, err := unpacked.Lstat("etc/passwd"); err != nil || info.ModTime().Unix() != 0 {
		t.Errorf("etc/passwd, and so the digest, says when the base was made: %v, %v", info.ModTime(), err)
	}
	other, err := base.Pack(t.Context(), root, base.Manifest{Architecture: "arm64"}, io.Discard)
	if err != nil || other.Digest == packed.Digest {
		t.Errorf("the digest does not name the manifest: %v", err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	compress := func(r io.Reader) io.Reader {
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b)
		if err == nil {
			_, err = io.Copy(w, r)
		}
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return &b
	}
	header := func(manifest string) entry {
		return entry{tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"HERMES.base": manifest}}, ""}
	}
	for name, c := range map[string]struct {
		r    io.Reader
		want string
	}{
		"no manifest":     {compress(layer(t, file("a", "x"))), "no manifest"},
		"a bad manifest":  {compress(layer(t, header("{"))), "cannot be read"},
		"dots":            {compress(layer(t, header("{}"), file("../../out", "x"))), "leads out"},
		"not compressed":  {layer(t, header("{}")), ""},
		"nothing":         {strings.NewReader(""), ""},
		"behind the root": {compress(layer(t, header("{}"), symlink("l", "/.."), file("l/base.json", "x"), file("l/out", "x"))), "-"},
	} {
		dir := filepath.Join(t.TempDir(), "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		err := base.Unpack(t.Context(), c.r, openRoot(t, dir))
		if c.want == "-" && err != nil || c.want != "-" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if entries, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(entries) != 1 {
			t.Errorf("%s: %v lie outside, %v", name, entries, err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 2 {
			t.Errorf("%s: %v lie beside the root, %v", name, entries, err)
		}
	}
}

func TestCleanEnv(t *testing.T) {
	got := base.CleanEnv([]string{"PATH=/a", "HERMES_EXECUTION=x", "nothing", "=x", "A=1", "B=\x00", "A=2", "C=\xff"})
	if want := []string{"PATH=/a", "A=2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzUnpack: nothing is written outside, and what is refused has a reason.
func FuzzUnpack(f *testing.F) {
	f.Add("a", "", byte(tar.TypeReg), "b", "a", byte(tar.TypeLink))
	f.Add("l", "/..", byte(tar.TypeSymlink), "l/../x", "", byte(tar.TypeReg))
	f.Add("d/.wh..wh..opq", "", byte(tar.TypeReg), ".wh..", "", byte(tar.TypeReg))
	f.Fuzz(func(t *testing.T, name, link string, flag byte, name2, link2 string, flag2 byte) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range []tar.Header{{Name: name, Linkname: link, Typeflag: flag}, {Name: name2, Linkname: link2, Typeflag: flag2}} {
			if w.WriteHeader(&h) != nil {
				return
			}
		}
		if w.Close() != nil {
			return
		}
		around := t.TempDir()
		inside := filepath.Join(around, "in")
		if err := os.Mkdir(inside, 0o755); err != nil {
			t.Fatal(err)
		}
		tree := base.NewTree(openRoot(t, inside), base.Limits{})
		if tree.Layer(t.Context(), &b) == nil {
			_ = tree.Finish()
		}
		if entries, err := os.ReadDir(around); err != nil || len(entries) != 1 {
			t.Fatalf("%v lie outside, %v", entries, err)
		}
	})
}

package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o644, Linkname: content}
}

func dir(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}
}

// archiveOf makes an archive of anything; a regular file's content stands in its Linkname.
func archiveOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	for _, h := range headers {
		content := h.Linkname
		if h.Typeflag == tar.TypeReg {
			h.Linkname = ""
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, content)
		}
	}
	w.Close()
	return compressed(raw.Bytes())
}

// encoder is shared: making one costs far more than what these tests compress.
var encoder = sync.OnceValue(func() *zstd.Encoder {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		panic(err)
	}
	return z
})

func compressed(raw []byte) []byte { return encoder().EncodeAll(raw, nil) }

func TestHostileArchivesAreRefused(t *testing.T) {
	long := strings.Repeat("d/", 40) + strings.Repeat("x", 200)
	good := archiveOf(t, file("a", strings.Repeat("content", 1000)))
	sparse := file("a", "x")
	sparse.PAXRecords = map[string]string{"HERMES.x": "1"}
	for _, c := range []struct {
		path, why string
		raw       []byte
		limits    Limits
	}{
		{"../x", "is not a path below", archiveOf(t, file("../x", "1")), Limits{}},
		{"..", "is not a path below", archiveOf(t, dir("..")), Limits{}},
		{".", "is not a path below", archiveOf(t, dir(".")), Limits{}},
		{"d/../../x", "is not a path below", archiveOf(t, dir("d"), file("d/../../x", "1")), Limits{}},
		{"/etc/passwd", "is not a path below", archiveOf(t, file("/etc/passwd", "1")), Limits{}},
		{"l", "is a symbolic link", archiveOf(t, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/etc"}), Limits{}},
		{"h", "is a hard link", archiveOf(t, file("a", "1"), tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "a"}), Limits{}},
		{"c", "is a device", archiveOf(t, tar.Header{Typeflag: tar.TypeChar, Name: "c", Devmajor: 1}), Limits{}},
		{"b", "is a device", archiveOf(t, tar.Header{Typeflag: tar.TypeBlock, Name: "b", Devmajor: 1}), Limits{}},
		{"p", "is a pipe", archiveOf(t, tar.Header{Typeflag: tar.TypeFifo, Name: "p"}), Limits{}},
		{"a", "is in the archive twice", archiveOf(t, file("a", "1"), file("a", "2")), Limits{}},
		{"a", "is in the archive twice", archiveOf(t, dir("a"), file("a", "2")), Limits{}},
		{"a", "is in the archive twice", archiveOf(t, file("a", "2"), dir("a")), Limits{}},
		{"a/b", "lies in a folder that is not", archiveOf(t, file("a", "2"), file("a/b", "")), Limits{}},
		{"d/f", "lies in a folder that is not", archiveOf(t, file("d/f", "2")), Limits{}},
		{"a", "has the attribute", archiveOf(t, sparse), Limits{}},
		{long[:32] + "…", "has a path of 280 bytes; at most 100", archiveOf(t, file(long, "")), Limits{PathBytes: 100}},
		{"d/d/d", "lies more than 2 folders deep", archiveOf(t, dir("d"), dir("d/d"), file("d/d/d", "")), Limits{Depth: 2}},
		{".", "holds a name of 300 bytes", archiveOf(t, file(strings.Repeat("n", 300), "")), Limits{}},
		{"", "has more than 2 files and folders", archiveOf(t, file("a", ""), file("b", ""), file("c", "")), Limits{Files: 2}},
		{"b", "makes the folder larger than 5 bytes", archiveOf(t, file("a", "123"), file("b", "456")), Limits{TotalBytes: 5}},
		{"", "is empty", nil, Limits{}},
		{"", "is not compressed with zstd", []byte("PK\x03\x04 not this"), Limits{}},
		{"", "has 9 bytes behind its end", append(archiveOf(t, file("a", "")), compressed([]byte("unnoticed"))...), Limits{}},
		{"", "is cut short", good[:len(good)-1], Limits{}},
		{"", "is cut short", good[:len(good)/2], Limits{}},
	} {
		outside := t.TempDir()
		must(t, os.Mkdir(filepath.Join(outside, "in"), 0o755))
		err := Extract(context.Background(), bytes.NewReader(c.raw), rootOf(t, filepath.Join(outside, "in")), c.limits)
		if c.why == "is cut short" {
			var e *Error
			if !errors.As(err, &e) || e.Why != c.why {
				t.Errorf("got %v, want %q", err, c.why)
			}
		} else {
			wantError(t, err, c.path, c.why)
		}
		if left, _ := os.ReadDir(outside); len(left) != 1 {
			t.Errorf("%s: something was written outside: %v", c.path, left)
		}
	}
}

func TestBombsStopEarly(t *testing.T) {
	zeros := func(name string, size int64) []byte {
		var b bytes.Buffer
		z, _ := zstd.NewWriter(&b)
		w := tar.NewWriter(z)
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644})
		io.CopyN(w, zero{}, size)
		w.Close()
		z.Close()
		return b.Bytes()
	}
	bomb := zeros("bomb", 80<<20)
	for why, limits := range map[string]Limits{
		"grows to more than 1000 times":             {},
		"makes the folder larger than 1048576 byte": {TotalBytes: 1 << 20},
	} {
		into := t.TempDir()
		err := Extract(context.Background(), bytes.NewReader(bomb), rootOf(t, into), limits)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Why, why) {
			t.Errorf("got %v, want %q", err, why)
		}
		if info, err := os.Stat(filepath.Join(into, "bomb")); err != nil || info.Size() > 70<<20 {
			t.Errorf("%v was written before it stopped", info.Size())
		}
	}
	// The same bomb in front of the file that is asked for.
	_, err := ReadFile(context.Background(), bytes.NewReader(bomb), "hermes.config.json", 10)
	wantError(t, err, "", "grows to more than 1000 times")
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestWindowIsBounded(t *testing.T) {
	var b bytes.Buffer
	z, _ := zstd.NewWriter(&b, zstd.WithWindowSize(8<<20))
	tw := tar.NewWriter(z)
	tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 9 << 20, Mode: 0o644})
	io.CopyN(tw, zero{}, 9<<20)
	tw.Close()
	z.Close()
	err := Extract(context.Background(), &b, rootOf(t, t.TempDir()), Limits{WindowBytes: 4 << 20})
	wantError(t, err, "", "needs more than 4194304 bytes of memory")
}

func TestManyFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("100,001 files")
	}
	headers := make([]tar.Header, 0, 100_001)
	for i := range cap(headers) {
		headers = append(headers, file(fmt.Sprint(i), ""))
	}
	_, err := ReadFile(context.Background(), bytes.NewReader(archiveOf(t, headers...)), "none", 1)
	wantError(t, err, "", "has more than 100000 files and folders")
}

func TestExtractKeepsModesAndNothingElse(t *testing.T) {
	exec := file("run", "#!")
	exec.Mode = 0o4711
	raw := archiveOf(t, file("plain", "x"), exec, dir("d"), file("d/f", ""))
	for _, c := range []struct {
		options Options
		want    map[string]fs.FileMode
	}{
		{Options{}, map[string]fs.FileMode{"plain": 0o644, "run": 0o755, "d": fs.ModeDir | 0o755}},
		{Options{ReadOnly: true, Owner: &Owner{os.Getuid(), os.Getgid()}},
			map[string]fs.FileMode{"plain": 0o444, "run": 0o555, "d": fs.ModeDir | 0o555}},
	} {
		into := t.TempDir()
		root := rootOf(t, into)
		must(t, ExtractWith(context.Background(), bytes.NewReader(raw), root, Limits{}, c.options))
		for name, mode := range c.want {
			info, err := os.Lstat(filepath.Join(into, name))
			must(t, err)
			if info.Mode() != mode || !info.ModTime().Equal(epoch) {
				t.Errorf("%s: %v %v, want %v %v", name, info.Mode(), info.ModTime(), mode, epoch)
			}
		}
		must(t, root.Chmod("d", 0o755))
	}
}

func TestExtractDoesNotOverwriteOrFollow(t *testing.T) {
	outside := t.TempDir()
	into := folder(t, map[string]string{"a": "old"})
	must(t, os.Symlink(outside, filepath.Join(into, "d")))
	must(t, os.Symlink(filepath.Join(outside, "x"), filepath.Join(into, "l")))
	for _, h := range []tar.Header{file("a", "new"), dir("d"), file("l", "new")} {
		err := Extract(context.Background(), bytes.NewReader(archiveOf(t, h)), rootOf(t, into), Limits{})
		wantError(t, err, strings.TrimSuffix(h.Name, "/"), "is there already")
	}
	if left, _ := os.ReadDir(outside); len(left) != 0 {
		t.Fatal(left)
	}
}

func TestErrorsOfTheSourceAreItsOwn(t *testing.T) {
	broken := errors.New("the network is down")
	err := Extract(context.Background(), iotest.ErrReader(broken), rootOf(t, t.TempDir()), Limits{})
	var e *Error
	if !errors.Is(err, broken) || errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
}

func TestReadFile(t *testing.T) {
	raw := archiveOf(t, file("a", "1"), file("hermes.config.json", "{}"), dir("d"))
	got, err := ReadFile(context.Background(), iotest.OneByteReader(bytes.NewReader(raw)), "hermes.config.json", 2)
	if err != nil || string(got) != "{}" {
		t.Fatal(string(got), err)
	}
	_, err = ReadFile(context.Background(), bytes.NewReader(raw), "hermes.config.json", 1)
	wantError(t, err, "hermes.config.json", "is larger than 1 bytes")
	_, err = ReadFile(context.Background(), bytes.NewReader(raw), "d", 1)
	wantError(t, err, "d", "is a folder")
	_, err = ReadFile(context.Background(), bytes.NewReader(raw), "none", 1)
	wantError(t, err, "none", "is not in the archive")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("it is not fs.ErrNotExist")
	}
}

func FuzzExtract(f *testing.F) {
	for _, raw := range [][]byte{
		archiveOf(f, file("a", "content"), dir("d"), file("d/b", "x")),
		archiveOf(f, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/etc"}, file("l/x", "")),
		archiveOf(f, file("../x", "1")),
	} {
		z, _ := zstd.NewReader(nil)
		plain, _ := z.DecodeAll(raw, nil)
		z.Close()
		f.Add(plain)
	}
	limits := Limits{Files: 20, TotalBytes: 1 << 16, Depth: 4, PathBytes: 100}
	f.Fuzz(func(t *testing.T, plain []byte) {
		outside := t.TempDir()
		must(t, os.Mkdir(filepath.Join(outside, "in"), 0o755))
		root := rootOf(t, filepath.Join(outside, "in"))
		err := Extract(context.Background(), bytes.NewReader(compressed(plain)), root, limits)
		if left, _ := os.ReadDir(outside); len(left) != 1 {
			t.Fatalf("written outside: %v", left)
		}
		var total int64
		must(t, fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && !d.IsDir() {
				total += info.Size()
				if !d.Type().IsRegular() {
					t.Fatalf("%s is %v", p, d.Type())
				}
			}
			return err
		}))
		if total > limits.TotalBytes {
			t.Fatalf("%d bytes were written", total)
		}
		if err == nil { // what is extracted can be packed again
			_, err := PackRoot(context.Background(), root, io.Discard, limits)
			must(t, err)
		}
	})
}

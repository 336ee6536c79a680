package image_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/hermes-serverless/hermes/services/base"
	"github.com/hermes-serverless/hermes/services/base/image"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(keys(files)) {
		must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name]))}))
		_, err := w.Write([]byte(files[name]))
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func layerOf(t *testing.T, files map[string]string) v1.Layer {
	t.Helper()
	raw := tarOf(t, files)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
	must(t, err)
	return layer
}

// twoLayers is an image of which the second layer changes, takes away and adds.
func twoLayers(t *testing.T, architecture string) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image,
		layerOf(t, map[string]string{"usr/a": "1", "usr/b": "1", "opt/c": "1", "opt/d": "1"}),
		layerOf(t, map[string]string{"usr/a": "2", "usr/.wh.b": "", "opt/.wh..wh..opq": "", "opt/e": "2"}))
	must(t, err)
	config, err := img.ConfigFile()
	must(t, err)
	config = config.DeepCopy()
	config.Architecture, config.OS = architecture, "linux"
	config.Config = v1.Config{Env: []string{"PATH=/usr/a", "HERMES_X=no"}, User: "7", Entrypoint: []string{"/usr/a"}}
	img, err = mutate.ConfigFile(img, config)
	must(t, err)
	return img
}

func saveDocker(t *testing.T, img v1.Image) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "docker.tar")
	tag, err := name.NewTag("test/image:1")
	must(t, err)
	must(t, tarball.WriteToFile(file, tag, img))
	return file
}

// saveOCI writes an OCI archive of images.
func saveOCI(t *testing.T, images ...v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	must(t, err)
	for _, img := range images {
		config, err := img.ConfigFile()
		must(t, err)
		must(t, path.AppendImage(img, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: config.Architecture})))
	}
	return tarFolder(t, dir)
}

func tarFolder(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "oci.tar")
	f, err := os.Create(file)
	must(t, err)
	defer f.Close()
	w := tar.NewWriter(f)
	must(t, w.AddFS(os.DirFS(dir)))
	must(t, w.Close())
	return file
}

func compressed(t *testing.T, file, how string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	must(t, err)
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if how == "zstd" {
		w, err = zstd.NewWriter(&b)
		must(t, err)
	}
	_, err = w.Write(raw)
	must(t, errors.Join(err, w.Close()))
	file += "." + how
	must(t, os.WriteFile(file, b.Bytes(), 0o600))
	return file
}

func fresh(t *testing.T) *os.Root {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	must(t, err)
	t.Cleanup(func() {
		root.Close()
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(path, 0o755)
			}
			return err
		})
	})
	return root
}

// wantTwoLayers fails unless the root holds what twoLayers says.
func wantTwoLayers(t *testing.T, root *os.Root) {
	t.Helper()
	for path, want := range map[string]string{"usr/a": "2", "usr/b": "", "opt/c": "", "opt/d": "", "opt/e": "2", "etc/hostname": "sandbox\n"} {
		got, err := root.ReadFile(path)
		if string(got) != want || (err != nil) != (want == "") {
			t.Errorf("%s is %q, %v, want %q", path, got, err, want)
		}
	}
}

func TestImport(t *testing.T) {
	img := twoLayers(t, runtime.GOARCH)
	other := twoLayers(t, "s390x")
	plain := filepath.Join(t.TempDir(), "rootfs.tar")
	must(t, os.WriteFile(plain, tarOf(t, map[string]string{"usr/a": "2", "opt/e": "2", "manifest.json": "{}"}), 0o600))
	files := map[string]image.Kind{saveDocker(t, img): image.Docker, saveOCI(t, img, other): image.OCI, plain: image.Plain}
	for file, kind := range files {
		for _, how := range []string{"", "gzip", "zstd"} {
			t.Run(string(kind)+" "+how, func(t *testing.T) {
				file := file
				if how != "" {
					file = compressed(t, file, how)
				}
				root := fresh(t)
				m, got, err := image.Import(t.Context(), file, t.TempDir(), runtime.GOARCH, root)
				if err != nil || got != kind || m.Architecture != runtime.GOARCH {
					t.Fatalf("%+v, %s, %v", m, got, err)
				}
				wantTwoLayers(t, root)
				wantEnv := []string{"PATH=/usr/a"}
				if kind == image.Plain {
					wantEnv = nil
				}
				if !slices.Equal(m.Env, wantEnv) {
					t.Errorf("the environment is %q", m.Env)
				}
				if _, err := base.Pack(t.Context(), root, m, io.Discard); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestImportRefuses(t *testing.T) {
	img := twoLayers(t, runtime.GOARCH)
	write := func(content []byte) string {
		file := filepath.Join(t.TempDir(), "file")
		must(t, os.WriteFile(file, content, 0o600))
		return file
	}
	many := filepath.Join(t.TempDir(), "many.tar")
	one, err := name.NewTag("a:1")
	must(t, err)
	two, err := name.NewTag("b:1")
	must(t, err)
	more, err := random.Image(10, 1)
	must(t, err)
	must(t, tarball.MultiWriteToFile(many, map[name.Tag]v1.Image{one: img, two: more}))
	for what, c := range map[string]struct {
		file string
		is   error
		want string
	}{
		"another architecture, docker": {saveDocker(t, twoLayers(t, "s390x")), image.ErrArchitecture, "s390x"},
		"another architecture, OCI":    {saveOCI(t, twoLayers(t, "s390x")), image.ErrArchitecture, "s390x"},
		"two of one architecture":      {saveOCI(t, img, withLayer(t, img)), image.ErrMany, ""},
		"two in a docker archive":      {many, image.ErrMany, ""},
		"an empty index":               {saveOCI(t), image.ErrNone, ""},
		"an empty tar":                 {write(make([]byte, 1024)), image.ErrNone, ""},
		"no tar":                       {write([]byte("hello, this is some text\n" + strings.Repeat("x", 600))), nil, "no tar"},
		"bzip2":                        {write([]byte("BZh91AY&SY")), image.ErrCompression, "bzip2"},
		"xz":                           {write([]byte{0xfd, '7', 'z', 'X', 'Z', 0, 0}), image.ErrCompression, "xz"},
		"nothing":                      {filepath.Join(t.TempDir(), "none"), fs.ErrNotExist, "none"},
		"a changed layer":              {changed(t, img), nil, ""},
		"a layout with a link":         {linked(t, img), nil, "is a link"},
	} {
		_, _, err := image.Import(t.Context(), c.file, t.TempDir(), runtime.GOARCH, fresh(t))
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.file) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func withLayer(t *testing.T, img v1.Image) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(img, layerOf(t, map[string]string{"x": "3"}))
	must(t, err)
	return img
}

// changed is an OCI archive of which a layer has another content than its name says.
func changed(t *testing.T, img v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	must(t, err)
	must(t, path.AppendImage(img))
	layers, err := img.Layers()
	must(t, err)
	digest, err := layers[0].Digest()
	must(t, err)
	other, err := layerOf(t, map[string]string{"usr/evil": "x"}).Compressed()
	must(t, err)
	raw, err := io.ReadAll(other)
	must(t, err)
	file := filepath.Join(dir, "blobs", "sha256", digest.Hex)
	must(t, os.Chmod(file, 0o600))
	must(t, os.WriteFile(file, raw, 0o600))
	return tarFolder(t, dir)
}

// linked is an OCI archive with a link in it that leads out.
func linked(t *testing.T, img v1.Image) string {
	t.Helper()
	raw, err := os.ReadFile(saveOCI(t, img))
	must(t, err)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "blobs/sha256/x", Linkname: "/etc/passwd"}))
	must(t, w.Flush())
	b.Write(raw)
	file := filepath.Join(t.TempDir(), "linked.tar")
	must(t, os.WriteFile(file, b.Bytes(), 0o600))
	return file
}

func TestPull(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	at := strings.TrimPrefix(server.URL, "http://") + "/lab/my.gcc:14"
	ref, err := name.ParseReference(at)
	must(t, err)
	img := twoLayers(t, runtime.GOARCH)
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}},
		mutate.IndexAddendum{Add: twoLayers(t, "s390x"), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}})
	must(t, remote.WriteIndex(ref, index))

	parsed, called, err := image.ParseReference(at)
	if err != nil || called != "my-gcc" {
		t.Fatalf("%v, %q, %v", parsed, called, err)
	}
	root := fresh(t)
	m, digest, err := image.Pull(t.Context(), parsed, runtime.GOARCH, root)
	want, _ := img.Digest()
	if err != nil || digest != want.String() || !slices.Equal(m.Env, []string{"PATH=/usr/a"}) {
		t.Fatalf("%+v, %s, %v", m, digest, err)
	}
	wantTwoLayers(t, root)
	if _, _, err := image.Pull(t.Context(), parsed, "riscv64", fresh(t)); err == nil {
		t.Error("an image of no such architecture is pulled")
	}
	missing, _, err := image.ParseReference(strings.ReplaceAll(at, ":14", ":15"))
	must(t, err)
	if _, _, err := image.Pull(t.Context(), missing, runtime.GOARCH, fresh(t)); err == nil || !strings.Contains(err.Error(), ":15") {
		t.Errorf("got %v", err)
	}
	if _, _, err := image.ParseReference("Not An Image"); err == nil {
		t.Error("a name that is none is read")
	}
}

func TestDebianRefuses(t *testing.T) {
	for _, d := range []image.Debian{
		{Suite: "bookworm", Packages: []string{"--hook=x"}}, {Suite: "-x"}, {Suite: "bookworm", Packages: []string{"a b"}},
		{Suite: "bookworm", Packages: []string{""}}, {Suite: ""},
	} {
		if err := d.Check(); err == nil || errors.Is(err, image.ErrNoBuilder) {
			t.Errorf("%+v: %v", d, err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	d := image.Debian{Suite: "bookworm", Packages: []string{"g++", "libc6:amd64"}}
	if err := d.Check(); !errors.Is(err, image.ErrNoBuilder) || !strings.Contains(err.Error(), "apt-get install mmdebstrap") {
		t.Errorf("got %v", err)
	}
}

// TestDebianFails says what mmdebstrap said.
func TestDebianFails(t *testing.T) {
	bin := t.TempDir()
	script := "#!/bin/sh\necho \"E: no such package in $*\" >&2\nexit 3\n"
	must(t, os.WriteFile(filepath.Join(bin, "mmdebstrap"), []byte(script), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	var log bytes.Buffer
	_, err := image.Debian{Suite: "trixie", Packages: []string{"make", "g++"}, Log: &log}.Build(t.Context(), "386", fresh(t))
	if err == nil || !strings.Contains(err.Error(), "no such package") || !strings.Contains(log.String(), "--architectures=i386 --include=make,g++ trixie -") {
		t.Errorf("%v; it said %s", err, &log)
	}
}

// TestDebian builds a small Debian: HERMES_TEST_MMDEBSTRAP=1 go test.
func TestDebian(t *testing.T) {
	if os.Getenv("HERMES_TEST_MMDEBSTRAP") == "" {
		t.Skip("takes long and needs the network: set HERMES_TEST_MMDEBSTRAP to run it")
	}
	d := image.Debian{Suite: "bookworm", Packages: []string{"make"}, Log: t.Output()}
	if err := d.Check(); err != nil {
		t.Skip(err)
	}
	root := fresh(t)
	m, err := d.Build(t.Context(), runtime.GOARCH, root)
	must(t, err)
	packed, err := base.Pack(t.Context(), root, m, io.Discard)
	must(t, err)
	t.Logf("%+v", packed)
	for path, executable := range map[string]bool{"usr/bin/make": true, "usr/bin/dash": true, "etc/debian_version": false} {
		if info, err := root.Stat(path); err != nil || (info.Mode()&0o111 != 0) != executable {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

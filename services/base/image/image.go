// Package image reads what bases are made of: OCI archives, docker archives, plain root
// filesystems, images of a registry, and what mmdebstrap builds.
package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/hermes-serverless/hermes/services/base"
)

// Kind says what a file is.
type Kind string

// The kinds of files that Import reads.
const (
	OCI    Kind = "OCI archive"
	Docker Kind = "docker archive"
	Plain  Kind = "root filesystem"
)

// Errors that say what is wrong with an image, wrapped with what was asked.
var (
	// ErrArchitecture: there is no image of the wanted architecture.
	ErrArchitecture = errors.New("the image is for another architecture")
	// ErrMany: a file holds several images, and it does not say which is meant.
	ErrMany = errors.New("the file holds more than one image")
	// ErrCompression: a file is compressed by something else than gzip or zstd.
	ErrCompression = errors.New("the file's compression is not supported")
	// ErrNone: a file holds no image.
	ErrNone = errors.New("the file holds no image")
)

// Import lays the root filesystem that a file holds into an empty folder. The architecture is
// Go's name of the machines that it is for; a plain root filesystem is believed to be for them.
// scratch is a folder for what is needed meanwhile.
func Import(ctx context.Context, file, scratch, architecture string, into *os.Root) (base.Manifest, Kind, error) {
	plain, err := decompressed(ctx, file, scratch)
	if err != nil {
		return base.Manifest{}, "", fmt.Errorf("read %s: %w", file, err)
	}
	kind, err := kindOf(ctx, plain)
	if err != nil {
		return base.Manifest{}, "", fmt.Errorf("read %s: %w", file, err)
	}
	m, err := importKind(ctx, kind, plain, scratch, architecture, into)
	if err != nil {
		return base.Manifest{}, kind, fmt.Errorf("import the %s %s: %w", kind, file, err)
	}
	return m, kind, nil
}

func importKind(ctx context.Context, kind Kind, plain, scratch, architecture string, into *os.Root) (base.Manifest, error) {
	switch kind {
	case OCI:
		img, err := openOCI(ctx, plain, scratch, architecture)
		if err != nil {
			return base.Manifest{}, err
		}
		return lay(ctx, img, architecture, into)
	case Docker:
		img, err := openDocker(plain)
		if err != nil {
			return base.Manifest{}, err
		}
		return lay(ctx, img, architecture, into)
	}
	f, err := os.Open(plain)
	if err != nil {
		return base.Manifest{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	return Whole(ctx, f, architecture, into)
}

// Whole lays a root filesystem that is one tar into an empty folder.
func Whole(ctx context.Context, r io.Reader, architecture string, into *os.Root) (base.Manifest, error) {
	tree := base.NewTree(into, base.Limits{})
	if err := tree.Whole(ctx, r); err != nil {
		return base.Manifest{}, err
	}
	return base.Manifest{Architecture: architecture}, tree.Finish()
}

// kindOf tells by the names at its top what a tar is.
func kindOf(ctx context.Context, file string) (Kind, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	top := map[string]bool{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return "", fmt.Errorf("it is no tar that can be read: %w", err)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(filepath.ToSlash(filepath.Clean("/"+h.Name)), "/"), "/")
		top[name] = true
	}
	switch {
	case len(top) == 0 || len(top) == 1 && top[""]:
		return "", ErrNone
	case top["usr"] || top["bin"] || top["etc"]:
		return Plain, nil
	case top["oci-layout"] && top["index.json"]:
		return OCI, nil
	case top["manifest.json"]:
		return Docker, nil
	}
	return Plain, nil
}

func openDocker(file string) (v1.Image, error) {
	opener := func() (io.ReadCloser, error) { return os.Open(file) }
	manifest, err := tarball.LoadManifest(opener)
	if err != nil {
		return nil, err
	}
	if len(manifest) != 1 {
		return nil, fmt.Errorf("%w: %d: save one of them alone", ErrMany, len(manifest))
	}
	return tarball.Image(opener, nil)
}

func openOCI(ctx context.Context, file, scratch, architecture string) (v1.Image, error) {
	dir := filepath.Join(scratch, "layout")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // only a handle
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	if err := base.NewTree(root, base.Limits{}).Whole(ctx, f); err != nil {
		return nil, err
	}
	if err := noLinks(root); err != nil {
		return nil, err
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	return choose(index, architecture)
}

// noLinks refuses links: what reads the files of a layout would follow them out of it.
func noLinks(root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeSymlink != 0 {
			return fmt.Errorf("%s is a link; an OCI archive has none", name)
		}
		return err
	})
}

// choose finds the one image of an index that is for the architecture, however deep.
func choose(index v1.ImageIndex, architecture string) (v1.Image, error) {
	found, others, err := candidates(index, architecture)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, fmt.Errorf("%w: %d: save one of them alone", ErrMany, len(found))
	case len(others) > 0:
		return nil, fmt.Errorf("%w: it is for %s, %s is wanted", ErrArchitecture, strings.Join(others, ", "), architecture)
	}
	return nil, ErrNone
}

// candidates are the images for the architecture; others are the architectures that there are too.
func candidates(index v1.ImageIndex, architecture string) (found []v1.Image, others []string, err error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, nil, err
	}
	for _, d := range manifest.Manifests {
		switch {
		case d.MediaType.IsIndex():
			inner, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, nil, err
			}
			more, also, err := candidates(inner, architecture)
			if err != nil {
				return nil, nil, err
			}
			found, others = append(found, more...), append(others, also...)
		case !d.MediaType.IsImage():
		case d.Platform != nil && (d.Platform.OS != "linux" || d.Platform.Architecture != architecture):
			if d.Platform.OS == "linux" {
				others = append(others, d.Platform.Architecture)
			}
		default:
			img, err := index.Image(d.Digest)
			if err != nil {
				return nil, nil, err
			}
			found = append(found, img)
		}
	}
	return found, others, nil
}

// lay lays the layers of an image over each other. Of its config only the environment is kept:
// what runs, and as whom, is the function's and Hermes' business.
func lay(ctx context.Context, img v1.Image, architecture string, into *os.Root) (base.Manifest, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return base.Manifest{}, err
	}
	if config.Architecture != "" && config.Architecture != architecture {
		return base.Manifest{}, fmt.Errorf("%w: it is for %s, %s is wanted", ErrArchitecture, config.Architecture, architecture)
	}
	layers, err := img.Layers()
	if err != nil {
		return base.Manifest{}, err
	}
	if len(layers) == 0 {
		return base.Manifest{}, ErrNone
	}
	if names := len(config.RootFS.DiffIDs); names != len(layers) {
		return base.Manifest{}, fmt.Errorf("it has %d layers, and its config names %d", len(layers), names)
	}
	tree := base.NewTree(into, base.Limits{})
	for i, layer := range layers {
		if err := layOne(ctx, layer, config.RootFS.DiffIDs[i], tree); err != nil {
			return base.Manifest{}, fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
		}
	}
	return base.Manifest{Architecture: architecture, Env: base.CleanEnv(config.Config.Env)}, tree.Finish()
}

// layOne applies a layer and checks that its content is what the image's config says. The layer's own
// word for that may be nothing but a sum of what is there.
func layOne(ctx context.Context, layer v1.Layer, want v1.Hash, tree *base.Tree) error {
	content, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer content.Close() //nolint:errcheck // only read
	sum, err := v1.Hasher(want.Algorithm)
	if err != nil {
		return err
	}
	checked := io.TeeReader(content, sum)
	if err := tree.Layer(ctx, checked); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, checked); err != nil {
		return err
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); got != want.Hex {
		return fmt.Errorf("its content is %s:%s and should be %s", want.Algorithm, got, want)
	}
	return nil
}

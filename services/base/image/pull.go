package image

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/hermes-serverless/hermes/services/base"
)

// ParseReference reads the name of an image as people type it, and returns what a base of it is
// called: the last part of its path.
func ParseReference(s string) (ref name.Reference, base string, err error) {
	ref, err = name.ParseReference(s)
	if err != nil {
		return nil, "", fmt.Errorf("image %q: %w", s, err)
	}
	return ref, strings.ReplaceAll(path.Base(ref.Context().RepositoryStr()), ".", "-"), nil
}

// Pull lays the root filesystem of a registry's image into an empty folder, and returns the image's
// own digest. It signs in as the docker or podman of who calls it does.
func Pull(ctx context.Context, ref name.Reference, architecture string, into *os.Root) (base.Manifest, string, error) {
	img, err := remote.Image(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: architecture}))
	if err != nil {
		return base.Manifest{}, "", fmt.Errorf("pull %s: %w", ref, err)
	}
	digest, err := img.Digest()
	if err != nil {
		return base.Manifest{}, "", fmt.Errorf("pull %s: %w", ref, err)
	}
	m, err := lay(ctx, img, architecture, into)
	if err != nil {
		return base.Manifest{}, "", fmt.Errorf("pull %s: %w", ref, err)
	}
	return m, digest.String(), nil
}

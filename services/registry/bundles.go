package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/blobs"
	"github.com/hermes-serverless/hermes/services/bundle"
	"github.com/hermes-serverless/hermes/services/manifest"
)

// Bundles reads what stored bundles say of themselves.
type Bundles struct {
	Blobs *blobs.Store
	// MaxBytes bounds a bundle; 0 does not.
	MaxBytes int64
	// Maxima bound what its config may ask for; a 0 in it does not.
	Maxima events.Limits
	Bases  Bases
	// Network: it may ask for a network.
	Network bool
}

// Manifest returns what the bundle's hermes.config.json says, and what it is built on now; the
// function's owner is empty. It fails with an *api.Error (NoSuchBlob, InvalidBundle, InvalidConfig,
// NoSuchBase) or the store's own.
func (b Bundles) Manifest(ctx context.Context, blob events.Blob) (events.FunctionRef, events.FunctionConfig, string, error) {
	m, err := b.manifest(ctx, blob)
	if err == nil {
		err = checkNetwork(m, b.Network)
	}
	var base string
	if err == nil {
		base, err = b.Bases.Resolve(ctx, m.Base, m.Config.Language)
	}
	if err != nil {
		return events.FunctionRef{}, events.FunctionConfig{}, "", err
	}
	return events.FunctionRef{Name: m.Name, Version: m.Version}, m.Config, base, nil
}

func (b Bundles) manifest(ctx context.Context, blob events.Blob) (manifest.Manifest, error) {
	if err := b.check(ctx, blob); err != nil {
		return manifest.Manifest{}, err
	}
	raw, err := b.read(ctx, blob)
	if err != nil {
		return manifest.Manifest{}, err
	}
	m, err := manifest.Parse(raw)
	var problems *manifest.Error
	if errors.As(err, &problems) {
		e := api.Errorf(api.Invalid, api.InvalidConfig, "%s", problems.Problems[0])
		if n := len(problems.Problems); n > 1 {
			e = api.Errorf(api.Invalid, api.InvalidConfig, "%s has %d problems", manifest.FileName, n)
		}
		return m, e.WithDetail(problems.Error())
	}
	if err != nil {
		return m, err
	}
	return m, checkLimits(raw, b.Maxima)
}

// checkLimits refuses a file that asks for more than the operator allows.
func checkLimits(raw []byte, maxima events.Limits) error {
	err := manifest.Within(raw, maxima)
	if err == nil {
		return nil
	}
	return api.Errorf(api.Invalid, api.InvalidConfig, "%s asks for more than this instance allows", manifest.FileName).
		WithDetail(err.Error()).WithHint("`hermes remote info` shows what it allows; ask the operator for more")
}

// check refuses a bundle that is not there or is too large.
func (b Bundles) check(ctx context.Context, blob events.Blob) error {
	if err := events.CheckDigest(blob.Digest); err != nil {
		return api.Errorf(api.Invalid, api.InvalidArguments, "bundle: %v", err)
	}
	stored, err := b.Blobs.Stat(ctx, blob.Digest)
	if errors.Is(err, blobs.ErrNoBlob) {
		return noSuchBundle(blob)
	}
	if err != nil {
		return err
	}
	if stored != blob {
		return api.Errorf(api.Invalid, api.InvalidArguments, "the bundle %s has %d bytes, not %d",
			blob.Digest, stored.SizeBytes, blob.SizeBytes)
	}
	if b.MaxBytes > 0 && blob.SizeBytes > b.MaxBytes {
		return api.Errorf(api.Invalid, api.InvalidBundle, "the bundle has %d bytes; at most %d are allowed", blob.SizeBytes, b.MaxBytes).
			WithHint("leave out what the build does not need in .hermesignore")
	}
	return nil
}

func noSuchBundle(blob events.Blob) error {
	return api.Errorf(api.NotFound, api.NoSuchBlob, "the bundle %s was not uploaded", blob.Digest).
		WithHint("upload it first: `hermes function deploy` does")
}

// read fetches as much of the bundle as it takes to find its config.
func (b Bundles) read(ctx context.Context, blob events.Blob) ([]byte, error) {
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pw.CloseWithError(b.Blobs.Get(ctx, blob, pw))
	}()
	raw, err := bundle.ReadFile(ctx, pr, manifest.FileName, manifest.MaxBytes)
	pr.Close() // ends the fetching
	<-done
	var wrong *bundle.Error
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, api.Errorf(api.Invalid, api.InvalidBundle, "the bundle has no %s", manifest.FileName).
			WithHint("`hermes function init` makes one")
	case errors.As(err, &wrong):
		return nil, api.Errorf(api.Invalid, api.InvalidBundle, "the bundle cannot be used: %v", wrong)
	case err != nil:
		return nil, fmt.Errorf("read the bundle: %w", err)
	}
	return raw, nil
}

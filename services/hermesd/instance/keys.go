package instance

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// key is an nkey whose seed is in a file that only its owner can read.
type key struct {
	public string
	file   string
}

// loadKey reads a user's seed from the file, or makes one.
func loadKey(file string) (key, error) { return loadKeyOf(file, nkeys.CreateUser) }

// loadKeyOf is loadKey for the kind of key that create makes.
func loadKeyOf(file string, create func() (nkeys.KeyPair, error)) (key, error) {
	pair, err := readKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(file, create)
	}
	if err != nil {
		return key{}, err
	}
	defer pair.Wipe()
	public, err := pair.PublicKey()
	return key{public: public, file: file}, err
}

// readKey reads a seed.
func readKey(file string) (nkeys.KeyPair, error) {
	seed, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the key %s: %w", file, err)
	}
	defer clear(seed)
	seed = bytes.TrimSpace(seed)
	var pair nkeys.KeyPair
	if bytes.HasPrefix(seed, []byte("SX")) {
		pair, err = nkeys.FromCurveSeed(seed)
	} else {
		pair, err = nkeys.FromSeed(seed)
	}
	if err != nil {
		return nil, fmt.Errorf("the key %s is damaged (%w): restore it from a backup, or remove it to have a new one made", file, err)
	}
	return pair, nil
}

func makeKey(file string, create func() (nkeys.KeyPair, error)) (key, error) {
	pair, err := create()
	if err != nil {
		return key{}, fmt.Errorf("make a key: %w", err)
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return key{}, fmt.Errorf("make a key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return key{}, fmt.Errorf("keep a key: %w", err)
	}
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		return key{}, fmt.Errorf("keep a key: %w", err)
	}
	public, err := pair.PublicKey()
	return key{public: public, file: file}, err
}

// option signs in with the key. The seed is read when it is needed and wiped after.
func (k key) option() (nats.Option, error) { return nats.NkeyOptionFromSeed(k.file) }

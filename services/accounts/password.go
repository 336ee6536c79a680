package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sync/semaphore"

	"github.com/hermes-serverless/hermes/services/api"
)

// Cost is what one hash takes.
type Cost struct {
	MemoryKiB, Passes uint32
	Lanes             uint8
}

// recommended is RFC 9106's second recommended option, for where 2 GiB a hash is too much, but with one lane where that has
// four: a hash takes longer, and one processor only, which who logs in hardly notices, and all others would.
var recommended = Cost{MemoryKiB: 64 << 10, Passes: 3, Lanes: 1}

const (
	saltBytes, hashBytes = 16, 32
	// maxWaiting bounds who waits for that; more are asked to come back.
	maxWaiting = 64
)

// maxHashing bounds the memory, two hashes at once are 128 MiB, and leaves half of the processors to others.
var maxHashing = int64(min(max(runtime.NumCPU()/2, 1), 2))

// hasher makes and checks argon2id hashes, a few at a time.
type hasher struct {
	cost           Cost
	running, queue *semaphore.Weighted
	// dummy is a hash of nothing: for names that nobody has, so that they take as long.
	dummy string
}

func newHasher(cost Cost) *hasher {
	if cost == (Cost{}) {
		cost = recommended
	}
	h := &hasher{cost: cost, running: semaphore.NewWeighted(maxHashing), queue: semaphore.NewWeighted(maxHashing + maxWaiting)}
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails
	h.dummy = encode(cost, salt, make([]byte, hashBytes))
	return h
}

// hash returns the password's hash in the PHC form, which names its own parameters.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt)
	sum, err := h.sum(ctx, h.cost, password, salt)
	if err != nil {
		return "", err
	}
	return encode(h.cost, salt, sum), nil
}

// matches compares. An empty hash is nobody's: the same work is done, and nothing matches.
func (h *hasher) matches(ctx context.Context, hash, password string) (bool, error) {
	known := hash != ""
	if !known {
		hash = h.dummy
	}
	cost, salt, want, err := decode(hash)
	if err != nil {
		return false, err
	}
	got, err := h.sum(ctx, cost, password, salt)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1 && known, nil
}

func (h *hasher) sum(ctx context.Context, c Cost, password string, salt []byte) ([]byte, error) {
	if !h.queue.TryAcquire(1) {
		return nil, api.Errorf(api.Unavailable, api.TooManyAttempts, "too many people log in at this moment").WithHint("try again in a few seconds")
	}
	defer h.queue.Release(1)
	if err := h.running.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer h.running.Release(1)
	return argon2.IDKey([]byte(password), salt, c.Passes, c.MemoryKiB, c.Lanes, hashBytes), nil
}

var b64 = base64.RawStdEncoding

func encode(c Cost, salt, sum []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.MemoryKiB, c.Passes, c.Lanes, b64.EncodeToString(salt), b64.EncodeToString(sum))
}

// errNoHash says nothing of the hash.
var errNoHash = errors.New("a stored password hash is damaged")

func decode(hash string) (c Cost, salt, sum []byte, err error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprint("v=", argon2.Version) {
		return c, nil, nil, errNoHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.MemoryKiB, &c.Passes, &c.Lanes); err != nil || c.Passes < 1 || c.Lanes < 1 || c.MemoryKiB > 1<<20 {
		return c, nil, nil, errNoHash
	}
	salt, saltErr := b64.DecodeString(parts[4])
	sum, sumErr := b64.DecodeString(parts[5])
	if saltErr != nil || sumErr != nil || len(sum) != hashBytes {
		return c, nil, nil, errNoHash
	}
	return c, salt, sum, nil
}

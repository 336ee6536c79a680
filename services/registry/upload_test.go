package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

func sum(raw []byte) string {
	s := sha256.Sum256(raw)
	return hex.EncodeToString(s[:])
}

// content returns bytes that need several parts.
func content(size int) ([]byte, events.Blob) {
	raw := make([]byte, size)
	rand.NewChaCha8([32]byte{}).Read(raw)
	return raw, events.Blob{Digest: "sha256:" + sum(raw), SizeBytes: int64(size)}
}

func (w *world) begin(user string, blob events.Blob) api.BlobUpload {
	w.t.Helper()
	u, err := api.Call[api.BlobUpload](w.t.Context(), w.client(user), api.OpBlobBegin, api.BlobBegin{Blob: blob})
	must(w.t, err)
	return u
}

func (w *world) send(u api.BlobUpload, part []byte) (progress api.BlobProgress, err error) {
	m, err := api.Request(w.t.Context(), w.conn, u.Subject, part)
	if err == nil {
		err = json.Unmarshal(m.Data, &progress)
	}
	return progress, err
}

// leavesNothing waits until no byte of an upload is in the store.
func (w *world) leavesNothing() {
	w.t.Helper()
	w.eventually("the store is empty", func() bool {
		status, err := w.objects.Status(w.t.Context())
		must(w.t, err)
		return status.(*jetstream.ObjectBucketStatus).StreamInfo().State.Msgs == 0
	})
}

func TestUpload(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.start()
	for _, size := range []int{0, 1, partBytes, 3*partBytes + 5} {
		raw, blob := content(size)
		for range 2 { // the second time it is there
			last := int64(-1)
			must(t, w.client("ana").Upload(t.Context(), blob, bytes.NewReader(raw), func(n int64) { last = n }))
			if last != int64(size) {
				t.Fatalf("progress ends at %d of %d", last, size)
			}
		}
		var got bytes.Buffer
		must(t, w.options.Blobs.Get(t.Context(), blob, &got))
		if !bytes.Equal(got.Bytes(), raw) {
			t.Fatalf("%d bytes come back otherwise", size)
		}
	}
}

func TestWrongUploads(t *testing.T) {
	w := newWorld(t)
	w.start()
	raw, blob := content(2*partBytes + 10)
	one, two, three := raw[:partBytes], raw[partBytes:2*partBytes], raw[2*partBytes:]
	changed := bytes.Clone(three)
	changed[0]++
	for _, c := range []struct {
		name  string
		parts [][]byte
		says  string
	}{
		{"wrong content", [][]byte{one, two, changed}, "is not what was announced"},
		{"out of order", [][]byte{two, one, three}, "is not what was announced"},
		{"too much", [][]byte{one, two, append(bytes.Clone(three), 1)}, "is larger than the 1048586 bytes"},
		{"too little", [][]byte{one, two, nil}, "ends after 1048576 of 1048586 bytes"},
		{"too large a part", [][]byte{raw[:partBytes+1]}, "a part of 524289 bytes"},
	} {
		u := w.begin("ana", blob)
		var err error
		for _, part := range c.parts {
			if _, err = w.send(u, part); err != nil {
				break
			}
		}
		if e := wantName(t, err, api.InvalidArguments); !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: %v", c.name, e)
		}
		w.eventually("the upload is over", func() bool {
			_, err := w.send(u, one)
			e, ok := api.AsError(err)
			return ok && e.Name == api.NoSuchBlob
		})
		w.leavesNothing()
	}
}

func TestUploadsAreTheirUsersOwn(t *testing.T) {
	w := newWorld(t)
	w.start()
	_, blob := content(10)
	u := w.begin("ana", blob)
	u.Subject = strings.Replace(u.Subject, ".ana.", ".eve.", 1)
	_, err := w.send(u, []byte("evil"))
	wantName(t, err, api.NoSuchBlob)
}

func TestUploadLimits(t *testing.T) {
	w := newWorld(t)
	w.start()
	begin := func(user string, blob events.Blob) error {
		_, err := api.Call[api.BlobUpload](t.Context(), w.client(user), api.OpBlobBegin, api.BlobBegin{Blob: blob})
		return err
	}
	wantName(t, begin("ana", events.Blob{Digest: blobNo(1).Digest, SizeBytes: 8<<20 + 1}), api.InvalidArguments)
	wantName(t, begin("ana", events.Blob{Digest: blobNo(1).Digest, SizeBytes: -1}), api.InvalidArguments)
	wantName(t, begin("ana", events.Blob{Digest: "x", SizeBytes: 1}), api.InvalidArguments)
	for i := range maxUploadsOfUser {
		must(t, begin("ana", blobNo(100+i)))
	}
	wantName(t, begin("ana", blobNo(200)), uploadsLimitReached)
	must(t, begin("eve", blobNo(200)))
}

func TestAbandonedUploadsEnd(t *testing.T) {
	w := newWorld(t)
	w.options.UploadIdle = 50 * time.Millisecond
	w.start()
	raw, blob := content(2 * partBytes)
	for range 2 * maxUploadsOfUser { // the places come back
		w.eventually("there is room", func() bool {
			u, err := api.Call[api.BlobUpload](t.Context(), w.client("ana"), api.OpBlobBegin, api.BlobBegin{Blob: blob})
			if err != nil {
				wantName(t, err, uploadsLimitReached)
				return false
			}
			_, _ = w.send(u, raw[:partBytes])
			return true
		})
	}
	w.leavesNothing()
}

func TestUploadsEndWithTheService(t *testing.T) {
	w := newWorld(t)
	stop := w.start()
	raw, blob := content(2 * partBytes)
	u := w.begin("ana", blob)
	_, err := w.send(u, raw[:partBytes])
	must(t, err)
	stop()
	w.leavesNothing()
}

func TestSomebodyElseStoresTheSame(t *testing.T) {
	w := newWorld(t)
	w.start()
	raw, blob := content(2 * partBytes)
	slow := w.begin("ana", blob)
	_, err := w.send(slow, raw[:partBytes])
	must(t, err)
	must(t, w.client("eve").Upload(t.Context(), blob, bytes.NewReader(raw), nil))
	if progress, err := w.send(slow, raw[partBytes:]); err != nil || !progress.Done {
		t.Fatal(progress, err)
	}
}

package quotas

import (
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections/functions"
)

// Function takes the next record of the functions' log.
func (b *Book) Function(r events.Record) error {
	if _, forgotten := r.Data.(events.FunctionsForgotten); forgotten {
		b.forgetFunctions(events.OwnerOf(r.Subject))
		return nil
	}
	before := b.functions[r.Subject]
	if r.Sequence <= before.Sequence {
		return nil
	}
	after, err := functions.Fold(before, r)
	if err != nil {
		return err
	}
	a := b.account(after.Owner)
	// In this order nothing is forgotten that stays.
	for _, blob := range blobsOf(after) {
		a.name(blob)
	}
	for _, blob := range blobsOf(before) {
		a.unname(blob)
	}
	b.functions[r.Subject] = after
	return nil
}

// forgetFunctions drops those of an owner: what is known of them may have ended in events that are not kept.
func (b *Book) forgetFunctions(owner string) {
	for subject, f := range b.functions {
		if f.Owner != owner {
			continue
		}
		for _, blob := range blobsOf(f) {
			b.account(owner).unname(blob)
		}
		delete(b.functions, subject)
	}
}

// blobsOf are the contents that a function names, as often as it does.
func blobsOf(f functions.Function) []events.Blob {
	var all []events.Blob
	for _, v := range f.Versions {
		all = append(all, v.Bundle, v.Artifact)
	}
	for _, p := range f.Pending {
		all = append(all, p.Bundle)
	}
	for _, failed := range f.Failed {
		all = append(all, failed.Bundle)
	}
	return all
}

// Blobs are the contents of its user's that an execution names. The artifact of a run is its
// function's, which may be somebody else's.
func Blobs(r events.ExecutionRequested) []events.Blob {
	var all []events.Blob
	if r.Kind == events.KindBuild {
		all = append(all, r.Source)
	}
	if r.Input.Blob != nil {
		all = append(all, *r.Input.Blob)
	}
	return all
}

func (a *account) name(blob events.Blob) {
	if blob.Digest == "" {
		return
	}
	s := a.blobs[blob.Digest]
	if s == nil {
		s = &stored{bytes: blob.SizeBytes}
		a.blobs[blob.Digest] = s
		a.held[Stored] += s.bytes
	}
	s.names++
}

func (a *account) unname(blob events.Blob) {
	s := a.blobs[blob.Digest]
	if s == nil {
		return
	}
	if s.names--; s.names == 0 {
		delete(a.blobs, blob.Digest)
		a.held[Stored] -= s.bytes
	}
}

// New is the size of those of the contents that the user does not store yet, each counted once.
func (b *Book) New(user string, blobs []events.Blob) int64 {
	a, total, seen := b.users[user], int64(0), map[string]bool{}
	for _, blob := range blobs {
		if seen[blob.Digest] || a != nil && a.blobs[blob.Digest] != nil {
			continue
		}
		seen[blob.Digest] = true
		total += blob.SizeBytes
	}
	return total
}

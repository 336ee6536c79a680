package projector

import "hash/maphash"

// maxFresh bounds the keys of a fresh bucket, which take some 16 bytes each.
const maxFresh = 1 << 22

// fresh knows of a bucket in which there was nothing which keys were written since. Who makes all views anew
// asks for keys that are not there yet, most of the time, and need not read that.
type fresh struct {
	seed maphash.Seed
	keys map[uint64]struct{}
	// until is the sequence up to which it pays, most how many keys it may know.
	until uint64
	most  int
}

func newFresh(until uint64) *fresh {
	return &fresh{seed: maphash.MakeSeed(), keys: map[uint64]struct{}{}, until: until, most: maxFresh}
}

// lacks reports whether the key was never written. That it was may be said of another with its hash.
func (f *fresh) lacks(key string) bool {
	if f == nil {
		return false
	}
	_, written := f.keys[maphash.String(f.seed, key)]
	return !written
}

// wrote takes note of a commit, and returns what is known behind it: nothing, if it does not pay any more.
func (f *fresh) wrote(writes map[string]any, checkpoint uint64) *fresh {
	if f == nil || checkpoint >= f.until || len(f.keys)+len(writes) > f.most {
		return nil
	}
	for key := range writes {
		f.keys[maphash.String(f.seed, key)] = struct{}{}
	}
	return f
}

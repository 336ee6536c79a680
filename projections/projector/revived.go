package projector

import (
	"errors"
	"slices"

	"github.com/nats-io/nats.go"
)

// errReconnected ends a session because the server may have crashed meanwhile.
var errReconnected = errors.New("the connection was lost and is there again")

// deleteRevived deletes again what a crash of the server has brought back: recovering a stream, it
// cannot know that a value was replaced by a marker which has run out since. It comes before the
// session's first record, and changes no checkpoint.
func (p *Projector) deleteRevived(t *tx) error {
	transient := p.o.Projection.Transient
	if transient == nil {
		return nil
	}
	keys, err := p.store.keys(t.ctx, transient.Prefix)
	if err != nil {
		return err
	}
	const some = 400 // keys and their witnesses fit into one answer
	for keys := range slices.Chunk(keys, some) {
		if err := p.judge(t, keys); err != nil {
			return err
		}
		if len(t.writes) == 0 {
			continue
		}
		p.o.Logger.Info("deleting keys again that a crash of the server brought back", "bucket", p.Bucket(), "keys", len(t.writes))
		if err := t.commit(t.checkpoint); err != nil {
			return err
		}
	}
	return nil
}

// judge deletes those of the transient keys that may not stand.
func (p *Projector) judge(t *tx, keys []string) error {
	if _, err := t.prefetch(keys); err != nil {
		return err
	}
	witnesses := make(map[string]string, len(keys))
	all := make([]string, 0, len(keys))
	for _, key := range keys {
		value, err := t.Get(key)
		if err != nil {
			return err
		}
		if value != nil { // else it has gone meanwhile
			witnesses[key] = p.o.Projection.Transient.Witness(value)
			all = append(all, witnesses[key])
		}
	}
	if _, err := t.prefetch(all); err != nil {
		return err
	}
	for key, witness := range witnesses {
		value, err := t.Get(witness)
		if err != nil {
			return err
		}
		if !p.o.Projection.Transient.Stands(value) {
			t.Delete(key)
		}
	}
	return nil
}

// onReconnect calls f once when the connection has been lost and is there again.
func onReconnect(nc *nats.Conn, f func()) (stop func()) {
	status, over := nc.StatusChanged(nats.CONNECTED), make(chan struct{})
	go func() {
		select {
		case _, open := <-status:
			if open {
				f()
			}
		case <-over:
		}
	}()
	return func() {
		nc.RemoveStatusListener(status)
		close(over)
	}
}

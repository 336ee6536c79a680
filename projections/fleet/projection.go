package fleet

import (
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
)

// Projection keeps view.<watcher> = Watcher in the bucket of the fleet.
var Projection = projections.Projection{
	Name: "hermes_fleet", Apply: apply, Decode: projections.DecodeJSON[Watcher],
}

// ViewKey is the key of a watcher's view. "*" stands for all.
func ViewKey(watcher string) string { return "view." + watcher }

func apply(tx projections.Tx, r events.Record) error {
	name, err := events.ParseWatcherSubject(r.Subject)
	if err == nil {
		err = events.CheckWatcherName(name)
	}
	if err != nil {
		return projections.Impossible(r, "%v", err)
	}
	w, _, err := projections.Get[Watcher](tx, ViewKey(name))
	if err != nil {
		return err
	}
	if r.Sequence <= w.Sequence {
		return nil // applied before
	}
	if w, err = Fold(w, r); err != nil {
		return err
	}
	tx.Put(ViewKey(name), w)
	return nil
}

package watcher

import (
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// tellEvery is how often a person who waits is told how far a base has come.
const tellEvery = time.Second

// standing is the root filesystem of a sandbox.
type standing struct {
	root    string
	env     []string
	release func()
}

// stand brings a base here and holds it. tell hears why it takes long.
func (w *Watcher) stand(ctx context.Context, name string, tell func(string)) (standing, error) {
	ref, err := events.ParseBaseRef(name)
	if err != nil {
		return standing{}, &preparing{events.ReasonSandbox, err}
	}
	if ref.IsHost() {
		return standing{release: func() {}}, nil
	}
	waiting, stop := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() { defer close(told); w.tellProgress(waiting, ref, tell) }()
	defer func() { stop(); <-told }()
	var on standing
	err = persist(ctx, fetchFor, permanentContent, func() (err error) {
		on.root, on.env, on.release, err = w.Bases.Stand(ctx, ref)
		return err
	})
	if err != nil {
		return standing{}, &preparing{events.ReasonSandbox, fmt.Errorf("the base %s could not be brought to the watcher: %w", ref, err)}
	}
	return on, nil
}

// tellProgress tells how far the base has come, whenever that is something else than before, and now
// and then all the same: who does not hear of an attempt for long places it elsewhere.
func (w *Watcher) tellProgress(ctx context.Context, ref events.BaseRef, tell func(string)) {
	const again = time.Minute
	last, at := "", time.Time{}
	for pause(ctx, tellEvery) {
		if doing := w.progress(ref); doing != last || time.Since(at) > again {
			w.Log.Info(doing, "base", ref)
			tell(doing)
			last, at = doing, time.Now()
		}
	}
}

// progress says in words, to a tenth, how far a base has come.
func (w *Watcher) progress(ref events.BaseRef) string {
	done, total := w.Bases.Progress(ref)
	switch {
	case total == 0:
		return fmt.Sprintf("waiting for the base %s", ref.Name)
	case done >= total:
		return fmt.Sprintf("unpacking the base %s", ref.Name)
	}
	return fmt.Sprintf("fetching the base %s, %s: %d %%", ref.Name, humanize.IBytes(uint64(total)), done*10/total*10)
}

// telling returns what tells the person who waits for an attempt why it has not started. One that
// cannot be told is told the next time.
func (w *Watcher) telling(a *attempt) func(string) {
	return func(doing string) {
		_, err := once[api.PreparingReply](w.life, w.asker, api.OpPreparing, api.Preparing{AttemptRef: a.AttemptRef, Doing: doing})
		if err != nil {
			w.Log.Debug("cannot tell why an attempt has not started", "execution", a.ID, "err", err)
		}
	}
}

package functions

import (
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
)

// Projection keeps view.<owner>.<name> = Function in the bucket of functions, while anything is
// left of the function.
var Projection = projections.Projection{
	Name: "hermes_functions", Apply: apply, Reads: reads, Decode: projections.DecodeJSON[Function], Forgets: forgets,
}

func forgets(r events.Record) (owner string, forgets bool) {
	_, forgets = r.Data.(events.FunctionsForgotten)
	return events.OwnerOf(r.Subject), forgets
}

// ViewKey is the key of a function's view. "*" stands for all names.
func ViewKey(owner, name string) string { return "view." + owner + "." + name }

func apply(tx projections.Tx, r events.Record) error {
	if _, forgotten := forgets(r); forgotten {
		return nil // the owner's functions were deleted before
	}
	owner, name, err := parse(r)
	if err != nil {
		return err
	}
	key := ViewKey(owner, name)
	f, _, err := projections.Get[Function](tx, key)
	if err != nil {
		return err
	}
	if r.Sequence <= f.Sequence {
		return nil // applied before
	}
	if f, err = Fold(f, r); err != nil {
		return err
	}
	if !f.Exists() {
		tx.Delete(key)
		return nil
	}
	tx.Put(key, f)
	return nil
}

func reads(r events.Record, _ projections.Known) []string {
	owner, name, err := parse(r)
	if err != nil {
		return nil
	}
	return []string{ViewKey(owner, name)}
}

// parse refuses names that no service would have let in: they may not be legal in a key.
func parse(r events.Record) (owner, name string, err error) {
	owner, name, err = events.ParseFunctionSubject(r.Subject)
	if err == nil {
		err = events.CheckUserName(owner)
	}
	if err == nil {
		err = events.CheckFunctionName(name)
	}
	if err != nil {
		return "", "", impossible(r, "%v", err)
	}
	return owner, name, nil
}

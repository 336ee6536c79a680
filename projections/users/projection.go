package users

import (
	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/projections"
)

// Projection keeps view.<user> = User in the bucket of users, while the user is registered.
var Projection = projections.Projection{
	Name: "hermes_users", Apply: apply, Decode: projections.DecodeJSON[User], Forgets: forgets,
}

func forgets(r events.Record) (name string, forgets bool) {
	_, forgets = r.Data.(events.UserUnregistered)
	return events.OwnerOf(r.Subject), forgets
}

// ViewKey is the key of a user's view. "*" stands for all.
func ViewKey(user string) string { return "view." + user }

func apply(tx projections.Tx, r events.Record) error {
	name, err := events.ParseUserSubject(r.Subject)
	if err == nil {
		err = events.CheckUserName(name)
	}
	if err != nil {
		return projections.Impossible(r, "%v", err)
	}
	u, _, err := projections.Get[User](tx, ViewKey(name))
	if err != nil {
		return err
	}
	if r.Sequence <= u.Sequence {
		return nil // applied before
	}
	if u, err = Fold(u, r); err != nil {
		return err
	}
	if !u.Registered {
		tx.Delete(ViewKey(name))
		return nil
	}
	tx.Put(ViewKey(name), u)
	return nil
}

package orchestrator

import (
	"slices"

	"github.com/hermes-serverless/hermes/events"
)

// MIGUsers is how many users may have MIG instances of one card at a time.
type MIGUsers string

// With OneUser a card is one user's at a time, unless all that use it said that it may be shared; it is the
// default. With ManyUsers each instance is a GPU of its own, for who holds the hardware's isolation to be
// enough.
const (
	OneUser   MIGUsers = "one"
	ManyUsers MIGUsers = "many"
)

// cardUse is who has something of a card that is partitioned.
type cardUse []cardUser

// cardUser is one of them: how many executions have something for themselves, and how many shared.
type cardUser struct {
	user          string
	alone, shared int
}

// admits says whether a user may have something more of the card.
func (c cardUse) admits(user string, shared bool) bool {
	return !slices.ContainsFunc(c, func(u cardUser) bool { return u.user != user && (u.alone > 0 || u.shared > 0 && !shared) })
}

// add notes (1) that an execution has something of the card, or (-1) has no more.
func (c cardUse) add(user string, shared bool, sign int) cardUse {
	i := slices.IndexFunc(c, func(u cardUser) bool { return u.user == user })
	if i < 0 {
		i, c = len(c), append(c, cardUser{user: user})
	}
	if shared {
		c[i].shared += sign
	} else {
		c[i].alone += sign
	}
	return c
}

// cards are the partitioned cards of a machine, by the UUID of each.
type cards map[string]cardUse

func (c cards) copy() cards {
	other := make(cards, len(c))
	for uuid, use := range c {
		other[uuid] = slices.Clone(use)
	}
	return other
}

// hold adds (1) or takes away (-1) what a hold has of the cards.
func (c cards) hold(devices []events.GPU, h Hold, sign int) {
	var of []string
	for _, g := range devices {
		if g.Parent != "" && !slices.Contains(of, g.Parent) && (slices.Contains(h.Devices, g.UUID) || slices.Contains(h.Devices, g.Parent)) {
			of = append(of, g.Parent)
			c[g.Parent] = c[g.Parent].add(h.User, h.GPU.Shared, sign)
		}
	}
}

// behindCards is what a waiting execution is told that would have a MIG instance now, if the card were not
// another user's; empty if it waits for something else.
func (f *floor) behindCards(need Need) string {
	if need.GPUs == 0 {
		return ""
	}
	isBehind := false
	for i := range f.sites {
		s := &f.sites[i]
		if !s.Accepting || unfit(s.Machine, need) != "" {
			continue
		}
		if _, ok := s.room(f.order, nil, need); ok {
			return "" // the others come first
		}
		without := *s
		without.cards = nil
		if _, ok := without.room(f.order, nil, need); ok {
			isBehind = true
		}
	}
	if !isBehind {
		return ""
	}
	return "a GPU: MIG instances that would do are free, but their cards are other users', and a card is one user's at a time; " +
		"they free up when those runs end"
}

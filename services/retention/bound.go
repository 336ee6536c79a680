package retention

// standing is what the log of executions has, and what of it is needed. Each is a sequence.
type standing struct {
	first, last uint64
	// aged is the last event that is as old as it has to be.
	aged uint64
	// projected is up to where the views are true, copied what the history has.
	projected, copied uint64
	// live are the first events of executions that have not ended, or that have a view still.
	live []uint64
}

// bound returns the last sequence that may go, and 0 if nothing may. Of what could go the last spare
// events stay, and the log's last event always: a limit to no messages would be none.
func bound(s standing, spare uint64) uint64 {
	to := min(s.last, s.aged, s.projected, s.copied)
	for _, first := range s.live {
		to = min(to, first-1)
	}
	if to = min(to-min(to, spare), max(s.last, 1)-1); to < s.first {
		return 0
	}
	return to
}

package top

import "time"

// window is over how long rates are told.
const window = 10

// rates count what happened in each of the last seconds.
type rates struct {
	// second is the one that the last place of the counts is of.
	second int64
	runs   [window]int64
	bytes  [window]int64
}

// add counts what happens now.
func (r *rates) add(now time.Time, runs, bytes int64) {
	r.to(now)
	i := r.second % window
	r.runs[i] += runs
	r.bytes[i] += bytes
}

// to lets go of what is older than the window.
func (r *rates) to(now time.Time) {
	second := now.Unix()
	for at := max(r.second+1, second-window+1); at <= second; at++ {
		r.runs[at%window], r.bytes[at%window] = 0, 0
	}
	r.second = max(r.second, second)
}

// perSecond are the means over the window.
func (r rates) perSecond(now time.Time) (runs, bytes float64) {
	r.to(now)
	for i := range window {
		runs += float64(r.runs[i]) / window
		bytes += float64(r.bytes[i]) / window
	}
	return runs, bytes
}

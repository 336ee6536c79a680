package quotas

import "time"

// Past is what ended attempts took of a day, for each user.
type Past struct {
	Day                    time.Time
	GPUMicros, OutputBytes map[string]int64
}

// Past sums up the day's. Users whose latest event is of another day have none.
func (b *Book) Past(day time.Time) Past {
	p := Past{Day: day, GPUMicros: map[string]int64{}, OutputBytes: map[string]int64{}}
	for user, a := range b.users {
		if a.day.Equal(day) {
			p.GPUMicros[user], p.OutputBytes[user] = a.gpuMicros, a.outputBytes
		}
	}
	return p
}

// AddPast adds what was taken of a day before the book began. A user who has come to a later day
// since has begun anew.
func (b *Book) AddPast(p Past) {
	for user, micros := range p.GPUMicros {
		a := b.account(user)
		a.turn(p.Day)
		if a.day.Equal(p.Day) {
			a.gpuMicros += micros
			a.outputBytes += p.OutputBytes[user]
		}
	}
}

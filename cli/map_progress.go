package cli

import (
	"fmt"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	// tellEvery is how often a map says how far it is, where no bar can be drawn.
	tellEvery = 10 * time.Second
	// obstacleEvery is how often it says again what it waits for.
	obstacleEvery = time.Minute
)

// mapProgress tells a person how far a map is: with a bar on a terminal, else with a line now and then.
type mapProgress struct {
	app   *app
	total int64

	mu            sync.Mutex
	bar           *progressbar.ProgressBar
	ended, failed int64
	// told is when a line was printed last, obstacles when each was, by the name of its error.
	told      time.Time
	obstacles map[string]time.Time
	// quiet: a question stands on the screen.
	quiet bool
}

func newMapProgress(a *app, total int64) *mapProgress {
	p := &mapProgress{app: a, total: total, told: a.now(), obstacles: map[string]time.Time{}}
	if a.streams.ErrTerminal && a.human() {
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(a.streams.Err),
			progressbar.OptionShowCount(),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionFullWidth(),
			progressbar.OptionThrottle(redrawEvery),
			progressbar.OptionSetSpinnerChangeInterval(0), // it draws when something happens
		)
	}
	return p
}

// begin draws the bar, also when it takes long until the first has ended.
func (p *mapProgress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.RenderBlank()
	}
}

// add counts an end.
func (p *mapProgress) add(failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended++
	if failed {
		p.failed++
	}
	switch {
	case p.bar != nil && !p.quiet:
		if failed {
			p.bar.Describe(fmt.Sprintf("%d failed", p.failed))
		}
		_ = p.bar.Set64(p.ended)
	case p.bar == nil && p.app.now().Sub(p.told) >= tellEvery:
		p.told = p.app.now()
		p.app.note("%s", p.text())
	}
}

func (p *mapProgress) text() string {
	text := fmt.Sprintf("%s ended", countOf(p.ended, "input"))
	if p.total >= 0 {
		text = fmt.Sprintf("%d of %s ended", p.ended, countOf(p.total, "input"))
	}
	if p.failed > 0 {
		text += fmt.Sprintf(", %d failed", p.failed)
	}
	return text
}

// note tells something else, above the bar.
func (p *mapProgress) note(text string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.say(fmt.Sprintf(text, args...))
}

func (p *mapProgress) say(text string) {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	p.app.note("%s", text)
}

// obstacle tells what is in the way, once in a while: what is said of it, such as how much is used of a
// quota, may be something else each time.
func (p *mapProgress) obstacle(err error, format string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := describe(err)
	if last, told := p.obstacles[e.Name]; told && p.app.now().Sub(last) < obstacleEvery {
		return
	}
	p.obstacles[e.Name] = p.app.now()
	p.say(fmt.Sprintf(format, e.Message))
}

// hush draws nothing over a question, until it is answered.
func (p *mapProgress) hush(quiet bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet = quiet; quiet && p.bar != nil {
		_ = p.bar.Clear()
	}
}

// finish takes the bar away.
func (p *mapProgress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
		_ = p.bar.Exit()
	}
}

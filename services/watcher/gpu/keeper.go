package gpu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// How often the keeper looks, as multiples of Options.Every. Events of the driver come by themselves.
const (
	// idlePeriods are between two readings of what nobody holds.
	idlePeriods = 5
	// listPeriods are between two lists of what there is: how long a repartitioned GPU, or a driver that
	// was loaded anew, may be unknown.
	listPeriods = 10
	// probePeriods are between two questions for a driver where there is none.
	probePeriods = 30
)

const (
	defaultEvery = time.Second
	// callWithin is how long the driver may take to answer: a GPU that hangs can hold it for ever.
	callWithin = 20 * time.Second
	// heedWithin is how long it may take to stop listening to the driver.
	heedWithin = 5 * time.Second
	// mostCalls bounds the calls that may hang.
	mostCalls = 16
	// defaultCleanWithin is how long a device may take to be clean behind its last user.
	defaultCleanWithin = 30 * time.Second
	// cleanEvery is how often it is looked at meanwhile.
	cleanEvery = 100 * time.Millisecond
)

// errSilent: the driver did not answer in time.
var errSilent = errors.New("the NVIDIA driver does not answer")

// Options of a keeper. Inventory is required.
type Options struct {
	Inventory Inventory
	Log       *slog.Logger // discards
	// Every is between two readings of what is held: 1 s.
	Every time.Duration
	// CleanWithin is how long a device may take to be clean behind its last user: 30 s.
	CleanWithin time.Duration
}

// Keeper knows the devices and who holds them. All methods may be called from many goroutines.
type Keeper struct {
	Options
	calls chan struct{}

	mu sync.Mutex
	// changed is called when what Machine tells is other than it told before; nil: nobody listens.
	changed func()
	told    Machine
	driver  Machine // its GPUs are in devices
	order   []string
	devices map[string]*device
	// silent is why nothing is known of any device just now; empty if all is well.
	silent string
	// freed is closed and replaced when somebody lets go of a device.
	freed chan struct{}
}

// NewKeeper looks what there is. A machine without a driver is no error: it may have one later.
func NewKeeper(o Options) *Keeper {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Every == 0 {
		o.Every = defaultEvery
	}
	if o.CleanWithin == 0 {
		o.CleanWithin = defaultCleanWithin
	}
	k := &Keeper{Options: o, calls: make(chan struct{}, mostCalls), devices: map[string]*device{}, freed: make(chan struct{})}
	k.list()
	k.read(k.all())
	k.mu.Lock()
	k.told = k.machine()
	k.mu.Unlock()
	for _, g := range k.told.GPUs {
		if g.Fault != "" {
			k.Log.Warn("a GPU is given to nobody", "gpu", g.UUID, "why", g.Fault)
		}
	}
	return k
}

// OnChange has f called, from goroutines of the keeper, whenever Machine tells something else. It
// must not call the keeper but for Machine.
func (k *Keeper) OnChange(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changed = f
}

// Run looks after the devices until the context ends.
func (k *Keeper) Run(ctx context.Context) {
	heeded := make(chan struct{})
	go func() { defer close(heeded); k.heed(ctx) }()
	defer func() {
		select {
		case <-heeded:
		case <-time.After(heedWithin): // a driver that hangs holds nobody up
		}
	}()
	tick := time.NewTicker(k.Every)
	defer tick.Stop()
	now := time.Now()
	nextList, nextIdle := now.Add(listPeriods*k.Every), now.Add(idlePeriods*k.Every)
	for {
		select {
		case <-ctx.Done():
			return
		case now = <-tick.C:
		}
		if !now.Before(nextList) {
			k.list()
			nextList = now.Add(listPeriods * k.Every)
			if k.isEmpty() {
				nextList = now.Add(probePeriods * k.Every)
			}
		}
		due := k.held()
		if !now.Before(nextIdle) {
			due, nextIdle = k.all(), now.Add(idlePeriods*k.Every)
		}
		k.read(due)
		k.meter(now)
		k.tell()
	}
}

// heed takes what the driver tells of by itself.
func (k *Keeper) heed(ctx context.Context) {
	for ctx.Err() == nil {
		troubles, err := k.Inventory.Troubles()
		for _, t := range troubles {
			k.trouble(t)
		}
		wait := time.Duration(0)
		if err != nil {
			wait = probePeriods * k.Every
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// trouble takes the devices out that are on a piece of hardware.
func (k *Keeper) trouble(t Trouble) {
	k.mu.Lock()
	var after []func()
	for _, d := range k.devices {
		if d.uuid == t.UUID || d.Parent == t.UUID {
			after = append(after, k.takeOut(d, t.What)...)
		}
	}
	k.mu.Unlock()
	run(after)
	k.tell()
}

// takeOut gives a device to nobody any more, and returns what ends who holds it. The caller holds mu.
func (k *Keeper) takeOut(d *device, why string) (after []func()) {
	if d.broken == "" {
		d.broken = why
		k.Log.Error("a GPU is taken out", "gpu", d.uuid, "why", why)
	}
	for h := range d.holds {
		after = append(after, func() { h.fail(fmt.Sprintf("the GPU %s failed: %s", d.uuid, why)) })
	}
	return after
}

func run(all []func()) {
	for _, f := range all {
		f()
	}
}

// list asks what there is.
func (k *Keeper) list() {
	found, err := patiently(k, k.Inventory.List)
	k.mu.Lock()
	k.silent = ""
	switch {
	case errors.Is(err, ErrNoDriver):
		found = Machine{}
	case err != nil:
		k.silent = err.Error()
		k.mu.Unlock()
		return
	}
	after := k.adopt(found)
	k.mu.Unlock()
	run(after)
}

// adopt takes what there is for the truth. The caller holds mu.
func (k *Keeper) adopt(found Machine) (after []func()) {
	reloaded := found.Driver != k.driver.Driver
	k.driver = found
	k.order = k.order[:0]
	devices := map[string]*device{}
	for _, g := range found.GPUs {
		d := k.devices[g.UUID]
		if d == nil || reloaded && len(d.holds) == 0 {
			d = newDevice(g)
		}
		d.GPU = g
		devices[g.UUID] = d
		k.order = append(k.order, g.UUID)
	}
	for uuid, d := range k.devices {
		if devices[uuid] == nil {
			d.gone = true
			after = append(after, k.takeOut(d, "the driver does not know it any more")...)
		}
	}
	k.devices = devices
	return after
}

// read measures devices.
func (k *Keeper) read(all []*device) {
	for _, d := range all {
		r, err := patiently(k, func() (Reading, error) { return k.Inventory.Read(d.uuid) })
		k.mu.Lock()
		var after []func()
		switch {
		case errors.Is(err, ErrLost):
			after = k.takeOut(d, "the driver cannot reach it: "+err.Error())
		case err != nil:
			d.silent = err.Error()
		default:
			if broken := d.observe(r); broken != "" {
				after = k.takeOut(d, broken)
			}
		}
		k.mu.Unlock()
		run(after)
	}
}

// patiently asks the inventory, and gives up waiting for it after a while.
func patiently[T any](k *Keeper, call func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	select {
	case k.calls <- struct{}{}:
	default:
		return answer{}.value, errSilent
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := call()
		<-k.calls
		answers <- answer{value, err}
	}()
	timer := time.NewTimer(callWithin)
	defer timer.Stop()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-timer.C:
		return answer{}.value, errSilent
	}
}

// meter lets those who run on devices have their share of the last readings.
func (k *Keeper) meter(now time.Time) {
	k.mu.Lock()
	holds := map[*Hold]bool{}
	for _, d := range k.devices {
		for h := range d.holds {
			holds[h] = true
		}
	}
	k.mu.Unlock()
	for h := range holds {
		h.sample(now)
	}
}

func (k *Keeper) isEmpty() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.driver.Driver == ""
}

func (k *Keeper) all() []*device {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]*device, 0, len(k.order))
	for _, uuid := range k.order {
		all = append(all, k.devices[uuid])
	}
	return all
}

func (k *Keeper) held() []*device {
	return slices.DeleteFunc(k.all(), func(d *device) bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(d.holds) == 0
	})
}

// Machine is what there is, with what is the matter with it.
func (k *Keeper) Machine() Machine {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.machine()
}

func (k *Keeper) machine() Machine {
	m := Machine{Driver: k.driver.Driver, CUDA: k.driver.CUDA}
	for _, uuid := range k.order {
		g := k.devices[uuid].listed()
		if g.Fault == "" {
			g.Fault = k.silent
		}
		m.GPUs = append(m.GPUs, g)
	}
	return m
}

// tell says that there is something else than was told last.
func (k *Keeper) tell() {
	k.mu.Lock()
	now := k.machine()
	same := now.Driver == k.told.Driver && now.CUDA == k.told.CUDA && slices.Equal(now.GPUs, k.told.GPUs)
	before, changed := k.told, k.changed
	k.told = now
	k.mu.Unlock()
	if same {
		return
	}
	k.note(before, now)
	if changed != nil {
		changed()
	}
}

func (k *Keeper) note(before, now Machine) {
	if before.Driver != now.Driver {
		k.Log.Info("the NVIDIA driver changed", "from", before.Driver, "to", now.Driver)
	}
	was := map[string]events.GPU{}
	for _, g := range before.GPUs {
		was[g.UUID] = g
	}
	for _, g := range now.GPUs {
		old, known := was[g.UUID]
		switch {
		case !known:
			k.Log.Info("a GPU is there", "gpu", g.UUID, "model", g.Model, "fault", g.Fault)
		case old.Fault == "" && g.Fault != "":
			k.Log.Warn("a GPU is given to nobody", "gpu", g.UUID, "why", g.Fault)
		case old.Fault != "" && g.Fault == "":
			k.Log.Info("a GPU is in order again", "gpu", g.UUID)
		}
		delete(was, g.UUID)
	}
	for uuid := range was {
		k.Log.Warn("a GPU is not there any more", "gpu", uuid)
	}
}

// Readings are the last of every device that was read, and which devices are held.
func (k *Keeper) Readings() (all map[string]Reading, held map[string]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	all, held = map[string]Reading{}, map[string]bool{}
	for uuid, d := range k.devices {
		held[uuid] = len(d.holds) > 0
		if d.last != nil {
			all[uuid] = *d.last
		}
	}
	return all, held
}

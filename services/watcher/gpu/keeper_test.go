package gpu_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/gpu"
	"github.com/hermes-serverless/hermes/services/watcher/gpu/fake"
)

const gib = 1 << 30

// bench is a keeper that runs in a bubble of time of its own.
type bench struct {
	*testing.T
	fake    *fake.Inventory
	keeper  *gpu.Keeper
	changes int
}

func withKeeper(t *testing.T, newInventory func() *fake.Inventory, test func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		inventory := newInventory() // in the bubble, as its channels must be
		b := &bench{T: t, fake: inventory, keeper: gpu.NewKeeper(gpu.Options{Inventory: inventory, CleanWithin: 10 * time.Second})}
		b.keeper.OnChange(func() { b.changes++ })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.keeper.Run(ctx) }()
		test(b)
		cancel()
		<-done
		synctest.Wait()
	})
}

// pass lets time go by, and what it brings happen.
func (b *bench) pass(d time.Duration) {
	b.keeper.Machine() // its lock comes between what the test has read and what the keeper writes next
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) fault(uuid string) string {
	b.Helper()
	for _, g := range b.keeper.Machine().GPUs {
		if g.UUID == uuid {
			return g.Fault
		}
	}
	b.Fatalf("there is no GPU %s", uuid)
	return ""
}

func (b *bench) wantFault(uuid, what string) {
	b.Helper()
	if fault := b.fault(uuid); !strings.Contains(fault, what) || what == "" && fault != "" {
		b.Errorf("fault of %s is %q, want %q", uuid, fault, what)
	}
}

// runner holds devices and notes what it is told.
type runner struct {
	*gpu.Hold
	pids    []int
	shared  bool
	causes  []gpu.Cause
	why     string
	samples []gpu.Samples
}

func (b *bench) hold(ask gpu.Ask) *runner {
	b.Helper()
	h, err := b.keeper.Hold(b.Context(), ask)
	if err != nil {
		b.Fatal(err)
	}
	return &runner{Hold: h}
}

func (r *runner) begin(pids ...int) *runner {
	r.pids = pids
	r.Begin(gpu.Holder{
		Processes: func() ([]int, error) { return r.pids, nil },
		End:       func(cause gpu.Cause, why string) { r.causes, r.why = append(r.causes, cause), why },
		Samples:   func(s gpu.Samples) { r.samples = append(r.samples, s) },
	})
	return r
}

func (b *bench) wantEnded(r *runner, cause gpu.Cause, why string) {
	b.Helper()
	if !slices.Equal(r.causes, []gpu.Cause{cause}) || !strings.Contains(r.why, why) {
		b.Errorf("ended by %v, %q; want %v, %q, once", r.causes, r.why, cause, why)
	}
}

func TestOneHolderAfterAnother(t *testing.T) {
	one := fake.Whole(1, "H100", 80*gib)
	withKeeper(t, func() *fake.Inventory { return fake.New(one) }, func(b *bench) {
		first := b.hold(gpu.Ask{Devices: []string{one.UUID}}).begin(100)
		b.fake.Compute(one.UUID, 100, 4*gib)
		got := make(chan *gpu.Hold, 1)
		go func() {
			h, _ := b.keeper.Hold(b.Context(), gpu.Ask{Devices: []string{one.UUID}})
			got <- h
		}()
		b.pass(time.Minute)
		if len(got) > 0 {
			t.Fatal("the second holds it beside the first")
		}
		first.Stop()
		go first.Free()
		b.pass(2 * time.Second)
		if len(got) > 0 {
			t.Fatal("the second holds it although a process of the first is on it")
		}
		b.fake.End(one.UUID, 100, 0)
		b.pass(time.Second)
		if len(got) != 1 {
			t.Fatal("the second does not get it")
		}
		(<-got).Free()
	})
}

func TestSharedGoTogether(t *testing.T) {
	one := fake.Whole(1, "L4", 24*gib)
	withKeeper(t, func() *fake.Inventory { return fake.New(one) }, func(b *bench) {
		ask := gpu.Ask{Devices: []string{one.UUID}, Shared: true, MemoryBytes: 8 * gib}
		a, c := b.hold(ask).begin(1), b.hold(ask).begin(2)
		within, cancel := context.WithTimeout(b.Context(), time.Minute)
		defer cancel()
		if _, err := b.keeper.Hold(within, gpu.Ask{Devices: []string{one.UUID}}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("alone beside two: %v", err)
		}
		b.fake.Compute(one.UUID, 1, 8*gib)
		b.fake.Compute(one.UUID, 2, 8*gib+1)
		b.pass(2 * time.Second)
		b.wantEnded(c, gpu.OverMemory, "8.0 GiB")
		if len(a.causes) > 0 {
			t.Errorf("the other is ended too: %s", a.why)
		}
		c.Stop()
		b.fake.End(one.UUID, 2, 0)
		c.Free() // at once: the memory of the first is not its
		b.wantFault(one.UUID, "")
		b.fake.End(one.UUID, 1, 0)
		if usage := a.Stop(); usage.PeakMemoryBytes != 8*gib {
			t.Errorf("peak %d", usage.PeakMemoryBytes)
		}
		a.Free()
		b.wantFault(one.UUID, "")
	})
}

// TestLeftovers: what a user leaves keeps the GPU from the next one, until it is gone.
func TestLeftovers(t *testing.T) {
	one, other := fake.Whole(1, "H100", 80*gib), fake.Whole(2, "H100", 80*gib)
	for name, leaks := range map[string]int64{"process": 0, "memory": 5 * gib} {
		t.Run(name, func(t *testing.T) {
			withKeeper(t, func() *fake.Inventory { return fake.New(one, other) }, func(b *bench) {
				r := b.hold(gpu.Ask{Devices: []string{one.UUID}}).begin(100)
				b.fake.Compute(one.UUID, 100, 6*gib)
				b.pass(2 * time.Second)
				r.Stop()
				want := "process 100"
				if leaks > 0 {
					b.fake.End(one.UUID, 100, leaks)
					want = "5.0 GiB of its memory"
				}
				began := time.Now()
				r.Free()
				if waited := time.Since(began); waited < 10*time.Second {
					t.Errorf("given up after %s", waited)
				}
				b.wantFault(one.UUID, want)
				if _, err := b.keeper.Hold(b.Context(), gpu.Ask{Devices: []string{one.UUID}}); !errors.Is(err, gpu.ErrNotGiven) {
					t.Errorf("held by the next: %v", err)
				}
				b.hold(gpu.Ask{Devices: []string{other.UUID}}).Free()
				if b.changes != 1 {
					t.Errorf("the machine changed %d times", b.changes)
				}
				b.fake.End(one.UUID, 100, 0)
				b.fake.Set(one.UUID, func(r *gpu.Reading) { r.MemoryBytes = 0 })
				b.pass(6 * time.Second)
				b.wantFault(one.UUID, "")
				b.hold(gpu.Ask{Devices: []string{one.UUID}}).Free()
			})
		})
	}
}

// TestForeignProcess: a program that Hermes did not start keeps a GPU from everybody.
func TestForeignProcess(t *testing.T) {
	one := fake.Whole(1, "H100", 80*gib)
	withKeeper(t, func() *fake.Inventory { return fake.New(one) }, func(b *bench) {
		b.fake.Compute(one.UUID, 7, gib)
		if _, err := b.keeper.Hold(b.Context(), gpu.Ask{Devices: []string{one.UUID}}); !errors.Is(err, gpu.ErrNotGiven) {
			t.Errorf("held beside it, before it was looked for: %v", err)
		}
		b.pass(2 * time.Second)
		b.wantFault(one.UUID, "process 7")
		b.fake.End(one.UUID, 7, 0)
		b.pass(6 * time.Second)
		b.wantFault(one.UUID, "")
	})
}

// TestDesktop: what is drawn on a GPU comes and goes, and keeps it from nobody.
func TestDesktop(t *testing.T) {
	one := fake.Whole(1, "RTX 4090", 24*gib)
	withKeeper(t, func() *fake.Inventory { return fake.New(one) }, func(b *bench) {
		b.fake.Set(one.UUID, func(r *gpu.Reading) { r.MemoryBytes, r.DrawnBytes = 3*gib, 3*gib })
		b.pass(6 * time.Second)
		b.wantFault(one.UUID, "")
		b.hold(gpu.Ask{Devices: []string{one.UUID}}).Free()
	})
}

func TestFaultsEndWhoHolds(t *testing.T) {
	one, split := fake.Whole(1, "H100", 80*gib), fake.Whole(2, "A100", 40*gib)
	first, second := fake.MIG(split, 1, "3g.20gb", 20*gib), fake.MIG(split, 2, "3g.20gb", 20*gib)
	for name, c := range map[string]struct {
		happens func(*fake.Inventory)
		out     []events.GPU
		why     string
	}{
		"xid":             {func(f *fake.Inventory) { f.Trouble(one.UUID, "Xid 79") }, []events.GPU{one}, "Xid 79"},
		"xid of a parent": {func(f *fake.Inventory) { f.Trouble(split.UUID, "Xid 79") }, []events.GPU{first, second}, "Xid 79"},
		"xid of one part": {func(f *fake.Inventory) { f.Trouble(first.UUID, "Xid 94") }, []events.GPU{first}, "Xid 94"},
		"lost":            {func(f *fake.Inventory) { f.Lose(second.UUID) }, []events.GPU{second}, "lost"},
		"ecc": {func(f *fake.Inventory) { f.Set(one.UUID, func(r *gpu.Reading) { r.MemoryErrors = 2 }) },
			[]events.GPU{one}, "2 errors of its memory"},
	} {
		t.Run(name, func(t *testing.T) {
			all := []events.GPU{one, first, second}
			withKeeper(t, func() *fake.Inventory { return fake.New(all...) }, func(b *bench) {
				runners := map[string]*runner{}
				for i, g := range all {
					runners[g.UUID] = b.hold(gpu.Ask{Devices: []string{g.UUID}}).begin(i + 1)
				}
				b.pass(5 * time.Second)
				c.happens(b.fake)
				b.pass(2 * time.Second)
				for uuid, r := range runners {
					if slices.ContainsFunc(c.out, func(g events.GPU) bool { return g.UUID == uuid }) {
						b.wantEnded(r, gpu.Faulty, c.why)
						b.wantFault(uuid, c.why)
					} else if b.wantFault(uuid, ""); len(r.causes) > 0 {
						t.Errorf("%s goes on, but its holder is ended: %s", uuid, r.why)
					}
					r.Stop()
					began := time.Now()
					if r.Free(); time.Since(began) > time.Second {
						t.Errorf("%s is waited for, clean or broken", uuid)
					}
				}
				b.pass(time.Minute)
				for _, g := range c.out {
					b.wantFault(g.UUID, c.why) // it does not mend by itself
				}
			})
		})
	}
}

// TestFaultBeforeTheBegin: one that fails while its sandbox is made ends at once.
func TestFaultBeforeTheBegin(t *testing.T) {
	one := fake.Whole(1, "H100", 80*gib)
	withKeeper(t, func() *fake.Inventory { return fake.New(one) }, func(b *bench) {
		r := b.hold(gpu.Ask{Devices: []string{one.UUID}})
		b.fake.Trouble(one.UUID, "Xid 79")
		b.pass(time.Second)
		r.begin(1)
		b.wantEnded(r, gpu.Faulty, "Xid 79")
		r.Stop()
		r.Free()
	})
}

func TestOldMemoryErrors(t *testing.T) {
	one := fake.Whole(1, "H100", 80*gib)
	withKeeper(t, func() *fake.Inventory {
		inventory := fake.New(one)
		inventory.Set(one.UUID, func(r *gpu.Reading) { r.MemoryErrors = 3 })
		return inventory
	}, func(b *bench) { b.wantFault(one.UUID, "3 errors") })
}

func TestPartitionedAnew(t *testing.T) {
	split := fake.Whole(1, "A100", 40*gib)
	withKeeper(t, func() *fake.Inventory { return fake.New(split) }, func(b *bench) {
		r := b.hold(gpu.Ask{Devices: []string{split.UUID}}).begin(1)
		parts := []events.GPU{fake.MIG(split, 1, "1g.5gb", 5*gib), fake.MIG(split, 2, "1g.5gb", 5*gib)}
		b.fake.SetGPUs(parts...)
		b.pass(11 * time.Second)
		b.wantEnded(r, gpu.Faulty, split.UUID)
		r.Stop()
		r.Free()
		if found := b.keeper.Machine().GPUs; !slices.Equal(found, parts) {
			t.Errorf("there are %+v", found)
		}
		if b.changes != 1 && b.changes != 2 {
			t.Errorf("the machine changed %d times", b.changes)
		}
		b.fake.SetGPUs(split)
		b.pass(11 * time.Second)
		b.wantFault(split.UUID, "") // it is another one now
	})
}

func TestDriverComesAndGoes(t *testing.T) {
	one := fake.Whole(1, "H100", 80*gib)
	without := func() *fake.Inventory {
		inventory := fake.New(one)
		inventory.SetDriver("")
		return inventory
	}
	withKeeper(t, without, func(b *bench) {
		if m := b.keeper.Machine(); m.Driver != "" || len(m.GPUs) > 0 {
			t.Errorf("without a driver: %+v", m)
		}
		b.fake.SetDriver("570.1")
		b.pass(31 * time.Second)
		if m := b.keeper.Machine(); m.Driver != "570.1" || len(m.GPUs) != 1 {
			t.Errorf("with a driver: %+v", m)
		}
		r := b.hold(gpu.Ask{Devices: []string{one.UUID}}).begin(1)
		b.fake.Trouble(one.UUID, "Xid 79")
		b.pass(time.Second)
		b.wantEnded(r, gpu.Faulty, "Xid 79")
		r.Stop()
		r.Free()
		b.fake.SetDriver("580.2")
		b.pass(11 * time.Second)
		b.wantFault(one.UUID, "") // who loads another driver has reset it
		r = b.hold(gpu.Ask{Devices: []string{one.UUID}}).begin(1)
		b.fake.SetDriver("")
		b.pass(11 * time.Second)
		b.wantEnded(r, gpu.Faulty, one.UUID)
		r.Stop()
		r.Free()
		if m := b.keeper.Machine(); m.Driver != "" || len(m.GPUs) > 0 {
			t.Errorf("the driver is gone: %+v", m)
		}
	})
}

// TestDriverHangs: nobody waits for ever, and what runs is left alone.
func TestDriverHangs(t *testing.T) {
	one := fake.Whole(1, "H100", 80*gib)
	withKeeper(t, func() *fake.Inventory { return fake.New(one) }, func(b *bench) {
		r := b.hold(gpu.Ask{Devices: []string{one.UUID}}).begin(1)
		release := b.fake.Hang()
		b.pass(30 * time.Second)
		b.wantFault(one.UUID, "does not answer")
		if len(r.causes) > 0 {
			t.Errorf("a run is ended because the driver is slow: %s", r.why)
		}
		release()
		b.pass(time.Minute)
		b.wantFault(one.UUID, "")
		r.Stop()
		r.Free()
	})
}

func TestIdle(t *testing.T) {
	one, two := fake.Whole(1, "H100", 80*gib), fake.Whole(2, "H100", 80*gib)
	ask := gpu.Ask{Devices: []string{one.UUID, two.UUID}, Idle: &events.GPUIdle{BelowPercent: 5, ForMillis: 60_000}}
	use := func(b *bench, uuid string, percent int) {
		b.fake.Set(uuid, func(r *gpu.Reading) { r.UtilisationPercent = percent })
	}
	withKeeper(t, func() *fake.Inventory { return fake.New(one, two) }, func(b *bench) {
		r := b.hold(ask).begin(1)
		b.pass(50 * time.Second)
		use(b, two.UUID, 5) // one of them is enough
		b.pass(5 * time.Second)
		use(b, two.UUID, 4)
		b.pass(55 * time.Second)
		if len(r.causes) > 0 {
			t.Fatalf("ended too early: %s", r.why)
		}
		b.pass(10 * time.Second)
		b.wantEnded(r, gpu.Idle, "less than 5 %")
		r.Stop()
		r.Free()
	})
	withKeeper(t, func() *fake.Inventory { return fake.New(one, two) }, func(b *bench) {
		use(b, one.UUID, gpu.Unknown)
		r := b.hold(ask).begin(1)
		b.pass(time.Hour)
		if len(r.causes) > 0 {
			t.Errorf("not known to be used is not idle: %s", r.why)
		}
		r.Stop()
		r.Free()
	})
}

func TestUsage(t *testing.T) {
	one, two := fake.Whole(1, "H100", 80*gib), fake.Whole(2, "H100", 80*gib)
	standing := func() *fake.Inventory {
		inventory := fake.New(one, two)
		for _, g := range []events.GPU{one, two} {
			inventory.Set(g.UUID, func(r *gpu.Reading) {
				r.MemoryBytes, r.PowerMilliwatts = gib/2, 100_000 // what the driver keeps, and standing still
			})
		}
		return inventory
	}
	withKeeper(t, standing, func(b *bench) {
		r := b.hold(gpu.Ask{Devices: []string{one.UUID, two.UUID}}).begin(1)
		b.fake.Compute(one.UUID, 1, 4*gib)
		b.pass(10*time.Second + 500*time.Millisecond)
		b.fake.End(one.UUID, 1, 0)
		usage := r.Stop()
		if usage.Micros != 2*10_500_000 || usage.PeakMemoryBytes != 4*gib {
			t.Errorf("usage %+v", usage)
		}
		if usage.MeanUtilisationPercent != 45 {
			t.Errorf("used %d %%, want 45: one device at 90, the other at 0", usage.MeanUtilisationPercent)
		}
		if joules := usage.EnergyMillijoules / 1000; joules < 1500 || joules > 2100 {
			t.Errorf("%d J of two devices at 100 W for 10 s", joules)
		}
		if len(r.samples) < 10 || len(r.samples[0].Devices) != 2 || r.samples[5].Devices[0].MemoryBytes != 4*gib {
			t.Errorf("%d samples, %+v", len(r.samples), r.samples)
		}
		r.Free()
		b.fake.Set(one.UUID, func(r *gpu.Reading) { r.EnergyMillijoules = 5_000 })
		b.fake.Set(two.UUID, func(r *gpu.Reading) { r.EnergyMillijoules = 7_000 })
		counted := b.hold(gpu.Ask{Devices: []string{one.UUID, two.UUID}}).begin(1)
		b.fake.Set(one.UUID, func(r *gpu.Reading) { r.EnergyMillijoules = 5_600 })
		if usage := counted.Stop(); usage.EnergyMillijoules != 600 {
			t.Errorf("its own count says 600 mJ: %+v", usage)
		}
		counted.Free()
	})
}

func TestHoldRefuses(t *testing.T) {
	one := fake.Whole(1, "H100", 80*gib)
	withKeeper(t, func() *fake.Inventory { return fake.New(one) }, func(b *bench) {
		if _, err := b.keeper.Hold(b.Context(), gpu.Ask{Devices: []string{one.UUID, "GPU-none"}}); !errors.Is(err, gpu.ErrNotGiven) {
			t.Errorf("unknown: %v", err)
		}
		b.hold(gpu.Ask{Devices: []string{one.UUID}}).Free() // nothing of the refused ask holds it
		never := b.hold(gpu.Ask{Devices: []string{one.UUID}})
		if usage := never.Stop(); usage != nil {
			t.Errorf("it never began: %+v", usage)
		}
		never.Lose("a process of it cannot be killed")
		never.Free()
		b.wantFault(one.UUID, "cannot be killed")
	})
}

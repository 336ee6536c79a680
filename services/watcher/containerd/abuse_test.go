package containerd

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// abuse is one run of the program in testdata/abuse.
type abuse struct {
	args []string
	// limit changes the limits under which the attack must fail.
	limit func(*events.Limits)
	// without takes away the limit that contains the attack, less takes the attack's size: one of
	// them shows that the very same program succeeds where nothing stops it.
	without func(*events.Limits)
	less    []string
	want    wanted
}

func exited(reason, message string) wanted {
	return wanted{api.Failed, reason, 1, "", message}
}

func timedOut(code int, signal string) wanted {
	return wanted{outcome: api.TimedOut, code: code, signal: signal}
}

var (
	oomKilled = wanted{api.Failed, events.ReasonOOM, 137, "SIGKILL", "48 MiB of memory"}
	fine      = wanted{outcome: api.Succeeded}
)

func soon(l *events.Limits) { l.TimeoutMillis = 700 }

// crowded is for as many processes as may be, which take memory to be.
func crowded(l *events.Limits) { l.TimeoutMillis, l.MemoryBytes = 700, 256<<20 }

func roomy(l *events.Limits)  { l.MemoryBytes, l.PIDs = 512<<20, 1000 }
func bigTmp(l *events.Limits) { l.TmpBytes, l.MemoryBytes = 256<<20, 512<<20 }
func wordy(l *events.Limits)  { l.OutputBytes = 64 << 20 }

func terse(l *events.Limits)   { l.OutputBytes = 64 << 10 }
func hugeTmp(l *events.Limits) { l.TmpBytes = 1 << 30 }

func abuses() map[string]abuse {
	return map[string]abuse{
		"processes":             {args: []string{"processes", "100"}, without: roomy, want: exited(events.ReasonPIDs, "48 processes")},
		"threads":               {args: []string{"threads", "900"}, without: roomy, want: exited(events.ReasonPIDs, "48 processes")},
		"zombies":               {args: []string{"zombies", "100"}, without: roomy, want: exited(events.ReasonPIDs, "48 processes")},
		"fork bomb":             {args: []string{"bomb"}, limit: crowded, want: timedOut(137, "SIGKILL")},
		"processes come and go": {args: []string{"churn"}, limit: soon, want: timedOut(0, "")},
		"spinning threads":      {args: []string{"spin", "40"}, limit: soon, want: timedOut(0, "")},
		"daemons":               {args: []string{"daemons", "9"}, want: fine},
		"stopped processes":     {args: []string{"stopped"}, limit: soon, want: timedOut(137, "SIGKILL")},
		"every signal ignored":  {args: []string{"deaf"}, limit: soon, want: timedOut(137, "SIGKILL")},
		"timers":                {args: []string{"timers", "500"}, limit: soon, want: timedOut(0, "")},

		"memory":            {args: []string{"anonymous", "100"}, without: roomy, want: oomKilled},
		"shared memory":     {args: []string{"shared", "100"}, without: roomy, want: oomKilled},
		"locked memory":     {args: []string{"locked", "100"}, without: roomy, want: wanted{outcome: api.Failed, reason: events.ReasonOOM}},
		"System V memory":   {args: []string{"sysv", "100"}, without: roomy, want: oomKilled},
		"files in memory":   {args: []string{"memfd", "100"}, without: roomy, want: oomKilled},
		"queues of sockets": {args: []string{"sockets", "80"}, without: roomy, want: oomKilled},
		"buffers of pipes":  {args: []string{"pipes", "60"}, without: roomy, want: oomKilled},
		"/tmp is memory":    {args: []string{"fill", "100"}, limit: hugeTmp, without: bigTmp, want: oomKilled},

		"/tmp":                 {args: []string{"fill", "100"}, without: bigTmp, want: exited(events.ReasonDisk, "/tmp full, 16 MiB, and exited with code 1")},
		"/tmp through memory":  {args: []string{"mapped", "100"}, without: bigTmp, want: wanted{api.Failed, events.ReasonDisk, 135, "SIGBUS", "/tmp full, 16 MiB"}},
		"/tmp without a trace": {args: []string{"unlinked", "100"}, without: bigTmp, want: exited(events.ReasonExit, "code 1")},
		"/dev/shm":             {args: []string{"fill", "100", "/dev/shm/x"}, limit: roomy, less: []string{"fill", "60", "/dev/shm/x"}, want: exited(events.ReasonDisk, "/dev/shm full, 64 MiB")},
		"files":                {args: []string{"files", "70000", "/tmp"}, limit: roomy, less: []string{"files", "1000", "/tmp"}, want: exited(events.ReasonDisk, "/tmp full, 65,536 files")},
		"nested folders":       {args: []string{"deep", "70000", "/tmp"}, limit: roomy, less: []string{"deep", "1000", "/tmp"}, want: exited(events.ReasonDisk, "/tmp full, 65,536 files")},
		"descriptors":          {args: []string{"descriptors", "2000"}, less: []string{"descriptors", "1000"}, want: exited(events.ReasonExit, "code 1")},

		"endless stdout":      {args: []string{"out"}, less: []string{"out", "1"}, want: wanted{api.Failed, events.ReasonOutputLimit, 137, "SIGKILL", "1.0 MiB"}},
		"endless stderr":      {args: []string{"err"}, less: []string{"err", "1"}, want: wanted{api.Failed, events.ReasonOutputLimit, 137, "SIGKILL", "1.0 MiB"}},
		"both without an end": {args: []string{"both"}, less: []string{"both", "1"}, want: wanted{outcome: api.Failed, reason: events.ReasonOutputLimit}},
		"long stdout":         {args: []string{"out", "20"}, without: wordy, want: wanted{outcome: api.Failed, reason: events.ReasonOutputLimit}},
		"byte by byte":        {args: []string{"dribble"}, limit: terse, less: []string{"dribble", "32"}, want: wanted{outcome: api.Failed, reason: events.ReasonOutputLimit}},
		"closed streams":      {args: []string{"closed"}, want: fine},

		"many arguments":      {args: []string{"arguments", "16"}, less: []string{"arguments", "1"}, want: exited(events.ReasonExit, "code 1")},
		"priorities":          {args: []string{"priority"}, want: exited(events.ReasonExit, "code 1")},
		"torment of the init": {args: []string{"torment"}, want: fine},
	}
}

// TestAbuse: whatever a function does, its run ends as it should, nothing is left of it, and a
// function beside it does not notice. What a limit stops is first shown to succeed without it.
func TestAbuse(t *testing.T) {
	if testing.Short() {
		t.Skip("takes most of a minute")
	}
	y := newYard(t)
	tool := y.tool(t)
	for name, a := range abuses() {
		y.try(t, name, func(t *testing.T) { y.attempt(t, tool, a) })
	}
	y.tryInput(t, tool)
	y.tryHandlers(t, tool)
	y.tryBuilds(t, tool)
	y.conclude(t)
}

func (y *yard) attempt(t *testing.T, tool events.Blob, a abuse) {
	r := y.request(events.KindRun, tool, "abuse", a.args...)
	if a.limit != nil {
		a.limit(&r.Request.Limits)
	}
	if a.less != nil || a.without != nil {
		free := r
		free.ID = api.NewID()
		if a.less != nil {
			free.Request.Args = a.less
		} else {
			a.without(&free.Request.Limits)
		}
		if report := y.run(t, free); report.Outcome != api.Succeeded {
			t.Errorf("the attack fails where nothing stops it, so it proves nothing: %+v\n%.999s", report, y.output(t, free))
		}
	}
	y.beside(t, tool, func() {
		report := y.run(t, r)
		a.want.check(t, report)
		if u := report.Usage; u.CPUMicros <= 0 || u.PeakMemoryBytes <= 0 || u.RunMicros <= 0 {
			t.Errorf("the numbers of its end are %+v", u)
		}
		if o := report.Output; len(y.output(t, r)) != int(o.StdoutBytes+o.StderrBytes) || (o.Cut != "") != (report.Reason == events.ReasonOutputLimit) {
			t.Errorf("the sums of its output are %+v", o)
		}
		if t.Failed() {
			t.Logf("it printed %.999s", y.output(t, r))
		}
	})
	y.checkGone(t)
}

// tryInput gives a function input that it does not read.
func (y *yard) tryInput(t *testing.T, tool events.Blob) {
	y.try(t, "input that is not read", func(t *testing.T) {
		blob := y.store.Add(make([]byte, 8<<20))
		r := y.request(events.KindRun, tool, "abuse", "unread")
		r.Request.Input.Blob = &blob
		y.beside(t, tool, func() { fine.check(t, y.run(t, r)) })
		y.checkGone(t)
	})
}

// tryHandlers executes what is no program.
func (y *yard) tryHandlers(t *testing.T, tool events.Blob) {
	dir := newDir(t)
	y.must(os.Mkdir(filepath.Join(dir, "folder"), 0o755))
	y.must(unix.Mkfifo(filepath.Join(dir, "pipe"), 0o777))
	y.must(unix.Mknod(filepath.Join(dir, "device"), unix.S_IFCHR|0o777, int(unix.Mkdev(1, 3))))
	y.must(os.Symlink("/etc/shadow", filepath.Join(dir, "link")))
	y.must(os.Symlink("self", filepath.Join(dir, "self")))
	for name, text := range map[string]string{
		"elf": "\x7fELF\x02\x01\x01 and no more", "script": "#!/nonexistent/interpreter\n", "empty": "",
		"itself": "#!/function/itself\n", "deep": "#!/function/script\n",
	} {
		y.must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	y.must(unix.Chmod(filepath.Join(dir, "pipe"), 0o777))
	y.must(unix.Chmod(filepath.Join(dir, "device"), 0o777))
	bad := y.store.Folder(dir)
	for handler, code := range map[string]int{
		"folder": 126, "pipe": 126, "device": 126, "elf": 126, "script": 126, "empty": 126, "itself": 126, "deep": 126,
		"link": 127, "self": 126, "folder/none": 127,
	} {
		y.try(t, "handler "+handler, func(t *testing.T) {
			y.beside(t, tool, func() {
				report := y.run(t, y.request(events.KindRun, bad, handler))
				wanted{outcome: api.Failed, reason: events.ReasonHandler, code: code}.check(t, report)
			})
			y.checkGone(t)
		})
	}
}

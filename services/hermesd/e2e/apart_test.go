package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	natsconf "github.com/hermes-serverless/hermes/deployments/nats"
	"github.com/hermes-serverless/hermes/projections/executions"
	"github.com/hermes-serverless/hermes/services/api"
)

// apart is an instance whose parts are processes of their own: a NATS server as an operator would
// set it up, the services, and two watchers.
type apart struct {
	*user
	// t is the whole test's: a part that is started again in a subtest outlives it.
	t                      *testing.T
	dir, address           string
	natsServer, services   *process
	watchers               map[string]*process
	operatorSeed, natsConf string
}

func newApart(t *testing.T) *apart {
	t.Helper()
	dir, address := newDataDir(t), newAddress(t)
	a := &apart{
		user: newUser(t, "nats://"+address, filepath.Join(dir, "user.nk")), t: t, dir: dir, address: address,
		watchers: map[string]*process{}, operatorSeed: filepath.Join(dir, "operator.nk"), natsConf: filepath.Join(dir, "nats.conf"),
	}
	a.configure(t)
	a.startNATS(t)
	a.startServices(t)
	for _, name := range []string{"w1", "w2"} {
		a.startWatcher(t, name)
	}
	return a
}

// configure makes the keys, the server's configuration and the contexts of user and operator.
func (a *apart) configure(t *testing.T) {
	t.Helper()
	identity := func(name string) natsconf.Identity {
		return natsconf.Identity{Name: name, Key: makeKey(t, filepath.Join(a.dir, name+".nk"))}
	}
	f, err := os.Create(a.natsConf)
	must(t, err)
	must(t, natsconf.Render(f, natsconf.Config{
		ServerName: "apart", Listen: a.address, StoreDir: filepath.Join(a.dir, "jetstream"), Sync: "always",
		ServicesKey: identity("services").Key, OperatorKey: identity("operator").Key,
		Watchers: []natsconf.Identity{identity("w1"), identity("w2")},
		Users:    []natsconf.Identity{{Name: userName, Key: makeKey(t, a.seed)}},
	}))
	must(t, f.Close())
	a.writeContext(t, "hermes-local", a.seed, api.InboxPrefix(userName))
	a.writeContext(t, "hermes-operator", a.operatorSeed, "")
}

func makeKey(t *testing.T, file string) (public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	must(t, err)
	seed, err := pair.Seed()
	must(t, err)
	must(t, os.WriteFile(file, seed, 0o600))
	public, err = pair.PublicKey()
	must(t, err)
	return public
}

func (a *apart) startNATS(t *testing.T) {
	t.Helper()
	a.natsServer = start(a.t, a.environment(), nil, programs.natsServer, "-c", a.natsConf)
	a.natsServer.waitFor(t, a.natsServer.stderr, "Server is ready")
}

func (a *apart) startServices(t *testing.T) {
	t.Helper()
	a.services = start(a.t, a.environment(), nil, programs.hermesd, "serve", "--nats", a.url, "--creds", filepath.Join(a.dir, "services.nk"))
	a.services.waitFor(t, a.services.stdout, "hermesd serves: ")
}

func (a *apart) startWatcher(t *testing.T, name string) {
	t.Helper()
	p := start(a.t, a.environment(), nil, programs.hermesd, "watcher", "--nats", a.url, "--creds", filepath.Join(a.dir, name+".nk"),
		"--name", name, "--data-dir", filepath.Join(a.dir, name), "--slots", fmt.Sprint(slots/2), "--grace", "5s")
	p.waitFor(t, p.stdout, "hermesd watches: ")
	a.watchers[name] = p
}

// TestApart is the same life of functions with the parts apart, and then the death of each part.
func TestApart(t *testing.T) {
	needMachine(t)
	a := newApart(t)
	w := world{a.user, a.connect(t)}
	core(t, w)
	if t.Failed() {
		return
	}
	t.Run("ServicesDie", func(t *testing.T) { servicesDie(t, a, w) })
	t.Run("ServerDies", func(t *testing.T) { serverDies(t, a, w) })
	t.Run("WatcherDies", func(t *testing.T) { watcherDies(t, a, w) })

	js := operator(t, a.url, a.operatorSeed)
	checkLog(t, js)
	checkQueueEmpty(t, js)
	checkViews(t, a.user)
	for _, name := range []string{"w1", "w2"} {
		a.watchers[name].stop(t)
		checkGone(t, filepath.Join(a.dir, name))
	}
	a.services.stop(t)
	a.natsServer.stop(t)
	checkGone(t, a.dir)
}

// dripping starts as many executions as there are slots, and two more that wait, and returns when
// all that can run print.
func (w world) dripping(t *testing.T) []api.ExecutionRef {
	t.Helper()
	refs := make([]api.ExecutionRef, slots+2)
	for i := range refs {
		refs[i].ID = w.runAsync(t, "acts", drips)
	}
	for _, ref := range refs[:slots] {
		w.awaitOutput(t, ref, "drop 1\n")
	}
	return refs
}

const (
	dripLines = 60
	drips     = "drip 60 50\n"
)

// checkDripped waits for the executions and compares all they have printed.
func (w world) checkDripped(t *testing.T, refs []api.ExecutionRef) {
	t.Helper()
	for _, ref := range refs {
		e := await(t, w.client, ref)
		o, err := tryOutput(w.client, ref.ID)
		must(t, err)
		if e.Status != executions.Success || e.Attempt != 1 || o.stdout != numbered("drop", dripLines) {
			t.Errorf("%s ended %s after %d attempts with %d bytes: %s %s", ref.ID, e.Status, e.Attempt, len(o.stdout), e.Reason, e.Message)
		}
		checkSums(t, e.Execution, o)
	}
}

func servicesDie(t *testing.T, a *apart, w world) {
	refs := w.dripping(t)
	a.services.kill(t)
	a.startServices(t)
	w.checkDripped(t, refs)
}

// serverDies: what is printed while there is no server is stored afterwards.
func serverDies(t *testing.T, a *apart, w world) {
	refs := w.dripping(t)
	watched := w.start(t, drips, "function", "run", "acts")
	eventually(t, "all accepted", func() bool {
		list := ask[api.Executions](t, w.client, api.OpExecutionList, api.ExecutionList{Limit: 1})
		return list.Executions[0].ID != refs[len(refs)-1].ID
	})
	a.natsServer.kill(t)
	a.startNATS(t)
	w.checkDripped(t, refs)
	if code := watched.wait(t); code != 0 || watched.read(watched.stdout) != numbered("drop", dripLines) {
		t.Errorf("who watched: exit code %d, %d bytes\n%s", code, len(watched.read(watched.stdout)), watched.read(watched.stderr))
	}
}

// watcherDies: what it runs is lost, what waits goes to the other, and it is welcome again. On a slow
// machine some may have ended before it dies.
func watcherDies(t *testing.T, a *apart, w world) {
	refs := w.dripping(t)
	a.watchers["w1"].kill(t)
	lost := 0
	for _, ref := range refs {
		e := await(t, w.client, ref)
		if e.Watcher != "w1" || e.Status != executions.Lost {
			w.checkDripped(t, []api.ExecutionRef{ref})
			continue
		}
		if lost++; !strings.Contains(e.Message, "w1") {
			t.Errorf("it ran on the dead watcher and ended %s: %s", e.Status, e.Message)
		}
	}
	if lost == 0 || lost > slots/2 {
		t.Errorf("%d executions were lost with a watcher that runs up to %d at once", lost, slots/2)
	}
	a.startWatcher(t, "w1")
	// Both are free now; of equals, the first by name is taken.
	eventually(t, "the watcher used again", func() bool {
		return await(t, w.client, api.ExecutionRef{ID: w.runAsync(t, "acts", "exit 0\n")}).Watcher == "w1"
	})
}

package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/hermes-serverless/hermes/projections/audit"
	"github.com/hermes-serverless/hermes/services/accounts"
	"github.com/hermes-serverless/hermes/services/api"
	"github.com/hermes-serverless/hermes/services/hermesd/instance"
	"github.com/hermes-serverless/hermes/services/watcher/fake"
)

// hermesd runs one command line.
func hermesd(t *testing.T, stdin string, args ...string) (out string, err error) {
	t.Helper()
	var b bytes.Buffer
	cmd := newRootCommand()
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&b)
	cmd.SetErr(&b)
	err = cmd.ExecuteContext(t.Context())
	return b.String(), err
}

func wantMatch(t *testing.T, out, pattern string) []string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("%q does not match %s", out, pattern)
	}
	return found
}

// TestUserCommands: an operator's day, on an instance to which people are invited.
func TestUserCommands(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	dir := t.TempDir()
	data, err := instance.OpenDataDir(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	in, err := instance.Start(t.Context(), instance.Options{
		Data: data, Listen: "127.0.0.1:0", Sync: "1m", Slots: 1, Runtime: fake.New(filepath.Join(dir, "fake")), User: "root", Version: api.Version,
		Accounts: instance.AccountOptions{Registration: api.RegistrationInvite, PasswordCost: accounts.Cost{MemoryKiB: 64, Passes: 1, Lanes: 1}},
		Log:      slog.New(slog.DiscardHandler), StopGrace: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := in.Stop(); err != nil {
			t.Error(err)
		}
	}()
	run := func(args ...string) string {
		t.Helper()
		out, err := hermesd(t, "", append([]string{"user"}, args...)...)
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return out
	}
	password := wantMatch(t, run("add", "ana"), `^added ana\npassword: ([a-z2-7]{5}(?:-[a-z2-7]{5}){3})\n$`)[1]
	if out, err := hermesd(t, "open sesame\n", "user", "add", "bob", "--password-stdin"); err != nil || out != "added bob\n" {
		t.Errorf("%q, %v", out, err)
	}
	for what, args := range map[string][]string{
		"the user name ana is taken": {"add", "ana"}, `user name "A": allowed are`: {"add", "A"}, `there is no user "zoe"`: {"remove", "zoe"},
		"signed in by the NATS server's configuration": {"disable", "root"},
	} {
		if out, err := hermesd(t, "", append([]string{"user"}, args...)...); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v: %q, %v", args, out, err)
		}
	}
	login(t, in, "ana", password)
	wantMatch(t, run("list"), `^User +Status +Since +Logins +Connections\nana +active +\S+ +1 +0\nbob +active +\S+ +0 +0\nroot +local +\S+ +0 +0\n$`)
	wantMatch(t, run("inspect", "ana"), `user +ana\nstatus +active\n(?s:.*)key +U\w+ +test +until `)
	wantMatch(t, run("quota", "bob"), `^Quota +Used +Limit +Set +Unit\nconcurrent +0 +- +by default +executions\nqueued +0 +10000 +by default `)
	wantMatch(t, run("quota", "bob", "--gpus", "0", "--cpus", "1.5", "--memory", "8GiB", "--gpu-seconds", "3600", "--unlimited", "queued,rate"),
		`(?s)queued +0 +- +for the user +.*cpus +0 +1.5 +for the user +cores\nmemory +0 B +8.0 GiB +for the user +bytes\ngpus +0 +0 +for the user +GPUs\ngpu-seconds +0 +3600 +for the user`)
	var bob api.Quotas
	if err := json.Unmarshal([]byte(run("quota", "bob", "--default", "gpus,cpus", "--json")), &bob); err != nil || !bob.Quotas[2].IsDefault || bob.Quotas[3].IsDefault {
		t.Errorf("%+v, %v", bob, err)
	}
	for what, args := range map[string][]string{
		`there is no user "zoe"`: {"zoe", "--gpus", "1"}, `"disk" is no quota; the quotas are concurrent, queued, cpus`: {"bob", "--unlimited", "disk"},
		"gpus is set twice": {"bob", "--gpus", "1", "--default", "gpus"}, `memory: "lots" must be a size, like "64GiB", or unlimited`: {"bob", "--memory", "lots"},
		`gpus: "-1" must be a whole number`: {"bob", "--gpus", "-1"}, `cpus: "none" must be a number of cores`: {"bob", "--cpus", "none"},
	} {
		if out, err := hermesd(t, "", append([]string{"user", "quota"}, args...)...); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v: %q, %v", args, out, err)
		}
	}
	wantMatch(t, run("disable", "bob"), `status +disabled`)
	wantMatch(t, run("enable", "bob"), `status +active`)
	wantMatch(t, run("passwd", "ana"), `^ana has another password; logins ended: 0, kept: 1\npassword: [a-z2-7-]{23}\n$`)
	if out, err := hermesd(t, "another sesame\n", "user", "passwd", "ana", "--password-stdin", "--revoke"); err != nil || out != "ana has another password; logins ended: 1, kept: 0\n" {
		t.Errorf("%q, %v", out, err)
	}
	login(t, in, "ana", "another sesame")
	wantMatch(t, run("invite", "carl", "--expires", "1h"), `^[A-Z2-7]{32}\ngood once, until `)
	checkAuditHas(t, `user\.registered +ana +`+operatorName()+` +ok`, `audit\.login_succeeded +ana +ana +127\.0\.0\.1 +ok`, `user\.key_enrolled +ana +ana +ok +U\w{11} test, until `,
		`user\.password_set +ana +`+operatorName()+` +ok`, `user\.key_revoked +ana +`+operatorName()+` +ok +U\w{11} test`)
	wantMatch(t, run("remove", "ana"), `^removed ana: 0 function versions deleted, 0 executions cancelled\n$`)
	var users []api.User
	if err := json.Unmarshal([]byte(run("list", "--json")), &users); err != nil || len(users) != 2 || users[0].Name != "bob" {
		t.Errorf("%+v, %v", users, err)
	}
	checkDrains(t)
	checkBases(t)
	checkAudit(t)
}

// checkDrains: a drain, one that is taken back, and two in vain.
func checkDrains(t *testing.T) {
	t.Helper()
	drain := func(args ...string) (string, error) { return hermesd(t, "", append([]string{"watcher"}, args...)...) }
	if out, err := drain("drain", "--reason", "a new fan"); err != nil || out != "watcher local gets nothing new; nothing runs there\n" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := drain("undrain"); err != nil || out != "watcher local takes executions again\n" {
		t.Errorf("%q, %v", out, err)
	}
	for what, args := range map[string][]string{`there is no watcher "gpu9"`: {"undrain", "gpu9"}, "has no GPU GPU-9": {"drain", "local", "--gpu", "GPU-9"}} {
		if _, err := drain(args...); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// checkBases: what the operator tries in vain with bases.
func checkBases(t *testing.T) {
	t.Helper()
	for what, args := range map[string][]string{
		"there is no base gcc": {"remove", "gcc"}, "there is no base gcd": {"default", "cpp", "gcd"},
		"no such file": {"import", "gcc", filepath.Join(t.TempDir(), "gcc.tar")},
	} {
		if _, err := hermesd(t, "", append([]string{"base"}, args...)...); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v: %v", args, err)
		}
	}
	if _, err := hermesd(t, "", "base", "inspect", "gcc"); err == nil {
		t.Error("a base is inspected that there is not")
	}
}

// checkAuditHas waits for what is counted: it is recorded behind the answer.
func checkAuditHas(t *testing.T, lines ...string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		all, err := hermesd(t, "", "audit")
		if err != nil {
			t.Fatal(err)
		}
		lacks := slices.IndexFunc(lines, func(line string) bool { return !regexp.MustCompile(line).MatchString(all) })
		if lacks < 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the audit lacks %s:\n%s", lines[lacks], all)
		}
	}
}

// checkAudit: what the operator and the users did above is shown, with who did it.
func checkAudit(t *testing.T) {
	t.Helper()
	show := func(args ...string) string {
		t.Helper()
		out, err := hermesd(t, "", append([]string{"audit"}, args...)...)
		if err != nil {
			t.Fatalf("audit %v: %v", args, err)
		}
		return out
	}
	if _, err := hermesd(t, "", "projection", "rebuild"); err != nil {
		t.Fatal(err)
	}
	all := show()
	me := operatorName()
	for _, line := range []string{
		`^Time +Type +User +By +From +Outcome +What\n`, `user\.registered +root +accounts +ok +signed in by`, `user\.disabled +bob +` + me + ` +ok`, `audit\.operator_acted +carl +` + me + ` +ok +user\.invite, carl, until`,
		`audit\.operator_acted +zoe +` + me + ` +NoSuchUser +user\.remove, zoe`, `user\.unregistered +ana +` + me + ` +ok`,
		`audit\.operator_acted +` + me + ` +ok +projection\.rebuild, hermes_functions: 0 corrected`,
		`watcher\.cordoned +` + me + ` +ok +local, a new fan\n`, `watcher\.uncordoned +` + me + ` +ok +local\n`,
		`audit\.operator_acted +` + me + ` +NoSuchWatcher +watcher\.undrain, gpu9\n`, `audit\.operator_acted +` + me + ` +NoSuchGPU +watcher\.drain, local GPU-9\n`,
		`audit\.operator_acted +` + me + ` +NoSuchBase +base\.remove, gcc\n`, `audit\.operator_acted +` + me + ` +NoSuchBase +base\.default, cpp gcd\n`,
		`audit\.operator_acted +` + me + ` +Failed +base\.import, gcc\n`,
	} {
		if !regexp.MustCompile(line).MatchString(all) {
			t.Errorf("the audit lacks %s:\n%s", line, all)
		}
	}
	for _, unwanted := range []string{"watcher.joined", "base.inspect"} {
		if strings.Contains(all, unwanted) {
			t.Errorf("the audit shows %s:\n%s", unwanted, all)
		}
	}
	if strings.Contains(all, "sesame") {
		t.Errorf("the audit holds a password:\n%s", all)
	}
	var rows []audit.Row
	if err := json.Unmarshal([]byte(show("--user", "bob", "--type", "user.disabled,enabled", "-o", "json")), &rows); err != nil || len(rows) != 2 || rows[0].Name() != "user.disabled" || rows[1].By != me {
		t.Errorf("%+v, %v", rows, err)
	}
	if lines := strings.Split(strings.TrimSpace(show("--type", "base", "-o", "jsonl", "--since", "1h")), "\n"); len(lines) != 1 || lines[0] != "" {
		t.Errorf("of bases: %q", lines)
	}
	for what, args := range map[string][]string{"is no type of the audit": {"--type", "nonsense"}, `--since "yesterday": must be a time: 12:03:05`: {"--since", "yesterday"}, "must be table, json or jsonl": {"-o", "xml"}} {
		if _, err := hermesd(t, "", append([]string{"audit"}, args...)...); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func login(t *testing.T, in *instance.Instance, user, password string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(in.URL(), api.Guest(public, pair.Sign), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ask := api.Login{User: user, Password: password, Label: "test"}
	if _, err := api.Ask[api.LoggedIn](t.Context(), nc, api.LoginSubject(public, api.OpLogin), ask); err != nil {
		t.Fatal(err)
	}
}

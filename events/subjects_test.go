package events_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hermes-serverless/hermes/events"
)

// respell parses a subject as each kind and builds it again; "" where it is refused.
func respell(subject string) map[string]string {
	spelled := map[string]string{}
	if owner, name, err := events.ParseFunctionSubject(subject); err == nil {
		spelled["function"] = events.FunctionSubject(owner, name)
	}
	if owner, id, err := events.ParseExecutionSubject(subject); err == nil {
		spelled["execution"] = events.ExecutionSubject(owner, id)
	}
	if watcher, err := events.ParseWatcherSubject(subject); err == nil {
		spelled["watcher"] = events.WatcherSubject(watcher)
	}
	if user, err := events.ParseUserSubject(subject); err == nil {
		spelled["user"] = events.UserSubject(user)
	}
	if name, err := events.ParseBaseSubject(subject); err == nil {
		spelled["base"] = events.BaseSubject(name)
	}
	if language, err := events.ParseLanguageSubject(subject); err == nil {
		spelled["language"] = events.LanguageSubject(language)
	}
	if owner, month, err := events.ParseArchiveSubject(subject); err == nil {
		spelled["archive"] = events.ArchiveGoneSubject(owner)
		if at, err := time.Parse("200601", month); err == nil {
			spelled["archive"] = events.ArchiveSubject(owner, at)
		}
	}
	return spelled
}

// TestOwnerOf: what is forgotten is found by whose it is, and what says so is of no execution and no function.
func TestOwnerOf(t *testing.T) {
	for subject, want := range map[string]string{
		events.ExecutionSubject("ana", "01JDY3M8WZ0000000000000000"): "ana", events.FunctionSubject("ana", "pi"): "ana", events.UserSubject("ana"): "ana",
		events.ArchiveGoneSubject("ana"): "ana", events.ExecutionsForgottenSubject("ana"): "ana", events.FunctionsForgottenSubject("ana"): "ana",
		events.WatcherSubject("ana"): "", events.BaseSubject("ana"): "", "hermes.history.3": "", "hermes.user": "", "other.user.ana": "", "": "",
	} {
		if got := events.OwnerOf(subject); got != want {
			t.Errorf("%q is of %q, want %q", subject, got, want)
		}
	}
	if _, name, err := events.ParseFunctionSubject(events.FunctionsForgottenSubject("ana")); err != nil || events.CheckFunctionName(name) == nil {
		t.Errorf("%q may be a function's name, %v", name, err)
	}
	if _, id, err := events.ParseExecutionSubject(events.ExecutionsForgottenSubject("ana")); err != nil || events.CheckExecutionID(id) == nil {
		t.Errorf("%q may be an execution's id, %v", id, err)
	}
}

func TestSubjects(t *testing.T) {
	const id = "01JDY3M8WZ0000000000000000"
	for kind, subject := range map[string]string{
		"function":  events.FunctionSubject("alice", "vadd"),
		"execution": events.ExecutionSubject("alice", id),
		"watcher":   events.WatcherSubject("node-1"),
		"user":      events.UserSubject("alice"),
		"base":      events.BaseSubject("gcc"),
		"language":  events.LanguageSubject("cpp"),
		"archive":   events.ArchiveSubject("alice", time.Date(2026, 11, 30, 23, 59, 0, 0, time.UTC)),
	} {
		got := respell(subject)
		if len(got) != 1 || got[kind] != subject {
			t.Errorf("%s is read as %v", subject, got)
		}
		for _, bad := range []string{"", subject + ".", subject + ".x", "." + subject, subject + " ", subject + "*", strings.ToUpper(subject), strings.TrimSuffix(subject, subject[strings.LastIndex(subject, "."):])} {
			if got := respell(bad); len(got) != 0 {
				t.Errorf("%q is read as %v", bad, got)
			}
		}
	}
	if got := respell(events.ArchiveGoneSubject("alice")); len(got) != 1 || got["archive"] != "hermes.archive.alice.gone" {
		t.Errorf("what is gone is read as %v", got)
	}
	// Frozen: stored subjects name the partition.
	if got := events.ExecutionSubject("alice", id); got != "hermes.execution.0.alice."+id {
		t.Errorf("the partition of %s has changed: %s", id, got)
	}
	if got := events.OutputSubject("w", "alice", id); got != "hermes.output.w.alice."+id {
		t.Error(got)
	}
	if got := events.RunSubject("w", "ana", id); got != "hermes.run.w.ana."+id {
		t.Error(got)
	}
}

// FuzzSubjects: a subject that is accepted is exactly the one that its parts build.
func FuzzSubjects(f *testing.F) {
	for _, s := range []string{"hermes.function.a.b", "hermes.execution.1.a.b", "hermes.watcher.w", "hermes.user.*", "hermes.user.>", "hermes.archive.a.202611"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for kind, spelled := range respell(s) {
			if spelled != s {
				t.Fatalf("%s %q was read as %q", kind, s, spelled)
			}
			if strings.ContainsAny(s, "*> \n\r\t") {
				t.Fatalf("%s %q was let in", kind, s)
			}
		}
	})
}

package containerd

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/api"
)

// buildAttack is a build whose Makefile does harm.
type buildAttack struct {
	// make is the recipe of `make`, clean that of `make clean`; with the tool beside them as ./abuse.
	make, clean string
	files       map[string]string
	handler     string // "handler" when empty
	limit       func(*events.Limits)
	// less is a recipe that asks for less, and shows that the attack succeeds where nothing stops it.
	less string
	want wanted
	// look looks at what came of it.
	look func(t *testing.T, artifact string)
}

const makeHandler = "printf '#!/bin/sh\\n' >handler; chmod +x handler"

func failedMake(message string) wanted {
	return wanted{api.Failed, events.ReasonMake, 2, "", message}
}

func notKept(message string) wanted {
	return wanted{outcome: api.Failed, reason: events.ReasonArtifact, message: message}
}

func badHandler(message string) wanted {
	return wanted{outcome: api.Failed, reason: events.ReasonHandler, message: message}
}

func spacious(l *events.Limits) { l.MemoryBytes = 512 << 20 }

func buildAttacks() map[string]buildAttack {
	return map[string]buildAttack{
		"make never ends":       {make: "sleep 1000", limit: soon, want: timedOut(0, "")},
		"make clean never ends": {make: makeHandler, clean: "sleep 1000", limit: soon, want: timedOut(0, "")},
		"make hears nothing":    {make: "trap '' TERM; ./abuse deaf", limit: soon, want: timedOut(137, "SIGKILL")},
		"processes":             {make: "./abuse processes 100 && " + makeHandler, want: wanted{outcome: api.Failed, reason: events.ReasonPIDs}, less: "./abuse processes 20; " + makeHandler},
		"fork bomb":             {make: "./abuse bomb", limit: crowded, want: timedOut(137, "SIGKILL")},
		"memory":                {make: "./abuse anonymous 100", want: wanted{outcome: api.Failed, reason: events.ReasonOOM, message: "use less"}, less: "./abuse anonymous 20; " + makeHandler},
		"output":                {make: "./abuse both", want: wanted{outcome: api.Failed, reason: events.ReasonOutputLimit}, less: "./abuse both 1; " + makeHandler},
		"the folder":            {make: "./abuse fill 100 big", limit: spacious, want: wanted{api.Failed, events.ReasonDisk, 2, "", "/function full, 32 MiB, and exited with code 2; make less"}, less: "./abuse fill 20 big; " + makeHandler},
		"files of the folder":   {make: "./abuse files 300000 .", limit: spacious, want: wanted{api.Failed, events.ReasonDisk, 2, "", "/function full, 262,144 files"}, less: "mkdir d; ./abuse files 1000 d; " + makeHandler},
		"/tmp":                  {make: "./abuse fill 100 /tmp/x", limit: spacious, want: wanted{api.Failed, events.ReasonDisk, 2, "", "/tmp full, 16 MiB"}, less: "./abuse fill 10 /tmp/x; " + makeHandler},

		"10 GB of nothing":     {make: makeHandler + "; truncate -s 10G big", want: notKept(`"big" makes the folder larger`), less: makeHandler + "; truncate -s 10M big"},
		"10 GB in pieces":      {make: makeHandler + "; for i in 1 2 3 4 5 6 7 8 9; do truncate -s 1200M big$$i; done", want: notKept("the archive grows to more than 1000 times its size")},
		"more files than kept": {make: makeHandler + "; mkdir d; ./abuse files 100100 d", limit: spacious, want: notKept("more than 100000 files")},
		"nested too deep":      {make: makeHandler, clean: "./abuse deep 60000 .", limit: spacious, want: notKept("folders deep")},
		"a pipe":               {make: makeHandler + "; mkfifo pipe", want: notKept(`"pipe" is a pipe`)},
		"a socket":             {make: makeHandler + `; perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => "s", Listen => 1) or die'`, want: notKept(`"s" is a socket`)},
		"a device":             {make: makeHandler + "; mknod null c 1 3", want: failedMake("code 2")},
		"a link out":           {make: makeHandler + "; ln -s /etc/shadow secret", want: notKept(`"secret" is a link`)},
		"a link to a folder":   {make: makeHandler + "; ln -s / all", want: notKept(`"all" is a link`)},
		"a link to itself":     {make: makeHandler + "; ln -s it it", want: notKept(`"it" is a link`)},
		"a hard link out":      {make: makeHandler + "; ln /etc/passwd users", want: failedMake("code 2")},
		"hard links":           {make: makeHandler + "; ln handler other", want: fine},
		"a name of no text":    {make: makeHandler + `; touch "$$(printf 'a\377')"`, want: notKept("not a path below the folder in UTF-8")},

		"handler is a link":             {make: "ln -s /etc/passwd handler", want: badHandler("symbolic link")},
		"handler is a pipe":             {make: "mkfifo -m 777 handler", want: badHandler("not a regular file")},
		"handler is a folder":           {make: "mkdir handler", want: badHandler("not a regular file")},
		"handler is in a linked folder": {make: "ln -s /usr/bin bin", handler: "bin/env", want: badHandler("bin is a symbolic link")},

		"writes to /usr":              {make: "echo x >/usr/abuse", want: failedMake("code 2"), look: absent("/usr/abuse")},
		"writes to /etc":              {make: "echo x >/etc/abuse", want: failedMake("code 2"), look: absent("/etc/abuse")},
		"replaces a program":          {make: "cp handler /usr/bin/env || rm -f /usr/bin/env", want: failedMake("code 2")},
		"a link in the place of make": {make: makeHandler, clean: "rm Makefile; ln -s /etc/passwd Makefile", want: failedMake("code 2")},
	}
}

func absent(path string) func(*testing.T, string) {
	return func(t *testing.T, _ string) {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s was made on the host", path)
		}
	}
}

func (y *yard) buildRequest(tool events.Blob, a buildAttack, recipe string) api.RunRequest {
	program, err := os.ReadFile(filepath.Join(y.dirOf(tool), "abuse"))
	y.must(err)
	clean := a.clean
	if clean == "" {
		clean = "true"
	}
	files := map[string]string{"abuse!": string(program), "Makefile": "all:\n\t@" + recipe + "\nclean:\n\t@" + clean + "\n"}
	for name, text := range a.files {
		files[name] = text
	}
	handler := a.handler
	if handler == "" {
		handler = "handler"
	}
	r := y.request(events.KindBuild, y.store.Bundle(y.t, files), handler)
	if a.limit != nil {
		a.limit(&r.Request.Limits)
	}
	return r
}

func (y *yard) tryBuilds(t *testing.T, tool events.Blob) {
	for name, a := range buildAttacks() {
		y.try(t, "build "+name, func(t *testing.T) { y.attemptBuild(t, tool, a) })
	}
	y.trySecrets(t, tool)
	y.try(t, "build that goes on behind its end", func(t *testing.T) { y.race(t, tool) })
}

func (y *yard) attemptBuild(t *testing.T, tool events.Blob, a buildAttack) {
	if a.less != "" {
		r := y.buildRequest(tool, a, a.less)
		if report := y.run(t, r); report.Outcome != api.Succeeded {
			t.Errorf("less of it fails too, so it proves nothing: %+v\n%.999s", report, y.output(t, r))
		}
	}
	r := y.buildRequest(tool, a, a.make)
	y.beside(t, tool, func() {
		report := y.run(t, r)
		a.want.check(t, report)
		if (report.Artifact != nil) != (a.want.outcome == api.Succeeded) {
			t.Errorf("artifact %v", report.Artifact)
		}
		if u := report.Usage; u.CPUMicros <= 0 || u.PeakMemoryBytes <= 0 || u.RunMicros <= 0 {
			t.Errorf("the numbers of its end are %+v", u)
		}
		if a.look != nil {
			a.look(t, "")
		}
	})
	y.checkGone(t)
}

// trySecrets reads files of the host with all that a compiler can read files with.
func (y *yard) trySecrets(t *testing.T, tool events.Blob) {
	const secret = "int the_canary_sings;"
	kept := filepath.Join(y.state, "canary.h")
	y.must(os.WriteFile(kept, []byte(secret+"\n"), 0o644)) // whoever gets there may read it
	readers := map[string]string{
		"cat":      "cat FILE",
		"include":  `printf '#include "FILE"\n' | gcc -E -x c -; printf '#include "FILE"\n' | gcc -x c -c -o handler -`,
		"-I":       `printf '#include "canary.h"\n' | gcc -E -x c -I DIR -`,
		"assembly": `printf '.incbin "FILE"\n' | gcc -x assembler -c -o handler -; strings handler`,
		"linker":   "ld -r -b binary -o handler FILE; strings handler",
		"response": "gcc @FILE",
		"copy":     "cp FILE handler; cat handler",
		"descent":  "cat /proc/1/root/FILE /proc/self/root/FILE /function/../FILE; grep -r canary_sings /tmp /var /run /root /home /etc /function/.. --exclude-dir=usr --exclude-dir=proc --exclude-dir=sys --exclude=Makefile",
	}
	recipe := func(reader, file string) string {
		reader = strings.ReplaceAll(strings.ReplaceAll(reader, "FILE", file), "DIR", filepath.Dir(file))
		return reader + "; " + makeHandler + "; true"
	}
	for name, reader := range readers {
		y.try(t, "build reads a secret by "+name, func(t *testing.T) {
			given := buildAttack{files: map[string]string{"canary.h": secret + "\n"}}
			if name != "descent" && !y.leaks(t, y.buildRequest(tool, given, recipe(reader, "/function/canary.h"))) {
				t.Error("the secret is not read where it may be, so it proves nothing")
			}
			y.beside(t, tool, func() {
				if y.leaks(t, y.buildRequest(tool, buildAttack{}, recipe(reader, kept))) {
					t.Error("the secret got out")
				}
			})
			y.checkGone(t)
		})
	}
	y.try(t, "build reads the passwords", func(t *testing.T) {
		r := y.buildRequest(tool, buildAttack{}, `printf '#include "/etc/shadow"\n#include "/root/.bashrc"\n#include "/etc/machine-id"\n' | gcc -c -x c -o handler -`)
		failedMake("code 2").check(t, y.run(t, r))
		if text := y.output(t, r); strings.Contains(text, "root:") || strings.Count(text, "No such file") != 1 {
			t.Errorf("the compiler says %q", text)
		}
		y.checkGone(t)
	})
}

// leaks reports whether the secret is in what a build printed or made.
func (y *yard) leaks(t *testing.T, r api.RunRequest) bool {
	t.Helper()
	const sign = "the_canary_sings"
	report := y.run(t, r)
	// The recipe itself is not echoed, and names the file and not what is in it.
	if strings.Contains(y.output(t, r), sign) {
		return true
	}
	if report.Artifact == nil {
		t.Errorf("the build did not come to its end: %+v", report)
		return false
	}
	found := false
	dir := y.unpacked(*report.Artifact)
	y.must(filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || entry.Name() == "canary.h" {
			return err
		}
		text, err := os.ReadFile(path)
		found = found || strings.Contains(string(text), sign)
		return err
	}))
	return found
}

// race leaves a process behind that goes on exchanging the handler for a link. It must be dead when
// the handler is looked at: what is kept is then one or the other, and never what the link leads to.
func (y *yard) race(t *testing.T, tool events.Blob) {
	const swap = `trap "" TERM HUP; while :; do ln -sf /etc/passwd l; mv -f l handler; printf ok >r; chmod +x r; mv -f r handler; done`
	kept, refused := 0, 0
	for range 4 {
		r := y.buildRequest(tool, buildAttack{files: map[string]string{"swap.sh": swap}},
			makeHandler+"; setsid sh swap.sh >/dev/null 2>&1 & setsid sh swap.sh & sleep 0.1")
		y.beside(t, tool, func() {
			report := y.run(t, r)
			if report.Outcome != api.Succeeded {
				if report.Reason != events.ReasonHandler && report.Reason != events.ReasonArtifact {
					t.Errorf("ended with %+v", report)
				}
				refused++
				return
			}
			kept++
			text, err := os.ReadFile(filepath.Join(y.unpacked(*report.Artifact), "handler"))
			if err != nil || string(text) != "ok" {
				t.Errorf("kept %q, %v", text, err)
			}
		})
		y.checkGone(t)
	}
	t.Logf("%d times a file was kept, %d times refused", kept, refused)
}

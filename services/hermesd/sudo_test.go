package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hermes-serverless/hermes/services/hermesd/instance"
)

// somebody is a person with a home of their own; only root can be made somebody else.
func somebody(t *testing.T) *person {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	homes := t.TempDir()
	for _, dir := range []string{homes, filepath.Dir(homes)} {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	p := &person{name: "ana", home: filepath.Join(homes, "ana"), uid: 61234, gid: 61235, groups: []int{61235}}
	if err := os.Mkdir(p.home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(p.home, p.uid, p.gid); err != nil {
		t.Fatal(err)
	}
	return p
}

func localContext(t *testing.T) instance.Context {
	t.Helper()
	key := filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(key, []byte("SUSEED"), 0o600); err != nil {
		t.Fatal(err)
	}
	return instance.Context{Name: instance.UserContext, URL: "nats://127.0.0.1:1", KeyFile: key, InboxPrefix: "_INBOX_ana"}
}

func mustBeTheirs(t *testing.T, p *person, file string) string {
	t.Helper()
	info, err := os.Lstat(file)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if info.Mode() != 0o600 || int(owner.Uid) != p.uid || int(owner.Gid) != p.gid {
		t.Errorf("%s: %v of %d:%d", file, info.Mode(), owner.Uid, owner.Gid)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestContextsAreTheSudoers(t *testing.T) {
	p := somebody(t)
	c := localContext(t)
	key := filepath.Join(p.home, keyDir, "hermes-local.nk")
	for range 2 { // a second start writes them anew
		file, err := p.save(c)
		if err != nil {
			t.Fatal(err)
		}
		if file != filepath.Join(p.home, contextDir, "hermes-local.json") {
			t.Errorf("saved as %s", file)
		}
		if raw := mustBeTheirs(t, p, file); !strings.Contains(raw, key) || !strings.Contains(raw, "_INBOX_ana") {
			t.Errorf("the context is %s", raw)
		}
		if raw := mustBeTheirs(t, p, key); raw != "SUSEED" {
			t.Errorf("the key is %q", raw)
		}
	}
	// Whatever thread goes on is root's again.
	secret := filepath.Join(t.TempDir(), "roots")
	for range 50 {
		if err := os.WriteFile(secret, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(secret); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestRootFollowsNoLinkOfTheSudoers: a person's links lead root nowhere that they could not go.
func TestRootFollowsNoLinkOfTheSudoers(t *testing.T) {
	c := localContext(t)
	link := func(t *testing.T, p *person, target, name string) {
		t.Helper()
		file := filepath.Join(p.home, name)
		for dir := filepath.Dir(file); dir != p.home; dir = filepath.Dir(dir) {
			defer func() { _ = os.Chown(dir, p.uid, p.gid) }()
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, file); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("a folder", func(t *testing.T) {
		p, roots := somebody(t), t.TempDir()
		link(t, p, roots, ".config")
		if _, err := p.save(c); err == nil {
			t.Error("saved outside of the home")
		}
		if files, _ := os.ReadDir(roots); len(files) != 0 {
			t.Errorf("there are %v", files)
		}
	})
	for _, name := range []string{"hermes-local.json", "hermes-local.json.new"} {
		t.Run(name, func(t *testing.T) {
			p, roots := somebody(t), filepath.Join(t.TempDir(), "shadow")
			if err := os.WriteFile(roots, []byte("root's"), 0o600); err != nil {
				t.Fatal(err)
			}
			link(t, p, roots, filepath.Join(contextDir, name))
			file, err := p.save(c)
			if err != nil {
				t.Fatal(err)
			}
			mustBeTheirs(t, p, file)
			if raw, _ := os.ReadFile(roots); string(raw) != "root's" {
				t.Errorf("root's file is now %q", raw)
			}
		})
	}
	t.Run("a folder of root's", func(t *testing.T) {
		p := somebody(t)
		if err := os.Mkdir(filepath.Join(p.home, ".config"), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := p.save(c); err == nil {
			t.Error("saved where the person may not write")
		}
	})
}

func TestSudoer(t *testing.T) {
	t.Setenv("SUDO_USER", "")
	if p, err := sudoer(); p != nil || err != nil {
		t.Errorf("nobody called sudo: %+v, %v", p, err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	t.Setenv("SUDO_USER", "root")
	if p, err := sudoer(); p != nil || err != nil {
		t.Errorf("root called sudo: %+v, %v", p, err)
	}
	t.Setenv("SUDO_USER", "no-such-user")
	if _, err := sudoer(); err == nil || !strings.Contains(err.Error(), "no-such-user") {
		t.Errorf("an unknown user called sudo: %v", err)
	}
	t.Setenv("SUDO_USER", "nobody")
	if p, err := sudoer(); err != nil || p == nil || p.uid == 0 || p.gid == 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestRootsContextsStayOutOfTheSudoersHome: sudo may keep the environment, and what root made there
// could not be changed by whom the home belongs to.
func TestRootsContextsStayOutOfTheSudoersHome(t *testing.T) {
	p, roots := somebody(t), t.TempDir()
	save := func() {
		t.Helper()
		if err := contextsFor(p)([]instance.Context{localContext(t)}, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		mustBeTheirs(t, p, filepath.Join(p.home, contextDir, "hermes-local.json"))
	}
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(p.home, "settings"))
	save()
	if _, err := os.Stat(filepath.Join(p.home, "settings")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("root wrote into the home: %v", err)
	}
	t.Setenv("XDG_CONFIG_HOME", roots)
	save()
	if _, err := os.Stat(filepath.Join(roots, "nats/context/hermes-local.json")); err != nil {
		t.Error(err)
	}
}

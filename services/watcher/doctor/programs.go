package doctor

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
)

func (l looker) containerd(ctx context.Context) Result {
	if l.Address == "" {
		return ok("hermesd runs its own")
	}
	if err := l.Answers(ctx, l.Address); err != nil {
		return broken(err.Error(), "systemctl start containerd, or leave the address out: hermesd then runs its own")
	}
	return ok("answers at " + l.Address)
}

func (l looker) init(context.Context) Result { return found("hermes-init", l.Init) }

func (l looker) launcher(ctx context.Context) Result {
	const without = ": making a sandbox costs a call of runc, twice as much"
	switch {
	case l.Address != "":
		return ok("not needed: a containerd of yours calls runc")
	case l.Launch == "":
		return warn("hermes-launch is missing"+without, setup)
	}
	if l.Launches != nil {
		if err := l.Launches(ctx, l.Launch); err != nil {
			return warn(err.Error()+without, setup)
		}
	}
	return ok(l.Launch)
}

func found(name, path string) Result {
	if path == "" {
		return broken(name+" is missing", setup)
	}
	return ok(path)
}

func (l looker) ociRuntime(ctx context.Context) Result {
	if l.Runc == "" {
		return broken("runc is missing", setup)
	}
	text, err := l.Version(ctx, l.Runc)
	if err != nil {
		return broken(fmt.Sprintf("%s does not run: %v", l.Runc, err), setup)
	}
	version, err := parseVersion(text)
	if err != nil {
		return warn(fmt.Sprintf("%s: %v", l.Runc, err), setup)
	}
	if !version.fixed() {
		return warn(fmt.Sprintf("%s is runc %s, out of which containers could break (CVE-2025-31133, -52565, -52881); fixed in 1.2.8, 1.3.3 and 1.4.0", l.Runc, version), setup)
	}
	return ok(fmt.Sprintf("runc %s at %s", version, l.Runc))
}

// runcVersion is major, minor, patch.
type runcVersion struct {
	number     [3]int
	prerelease string
}

var versionPattern = regexp.MustCompile(`runc version v?(\d+)\.(\d+)\.(\d+)(?:[-~+]([0-9A-Za-z.+~-]+))?`)

func parseVersion(text string) (runcVersion, error) {
	match := versionPattern.FindStringSubmatch(text)
	if match == nil {
		return runcVersion{}, fmt.Errorf("no runc version in %.80q", text)
	}
	var v runcVersion
	for i := range v.number {
		v.number[i], _ = strconv.Atoi(match[i+1]) // digits, as the pattern says
	}
	v.prerelease = match[4]
	return v, nil
}

func (v runcVersion) String() string {
	text := fmt.Sprintf("%d.%d.%d", v.number[0], v.number[1], v.number[2])
	if v.prerelease != "" {
		text += "-" + v.prerelease
	}
	return text
}

// fixed: the escapes of November 2025 are closed. The candidates of 1.4.0 up to rc.2 are not.
func (v runcVersion) fixed() bool {
	major, minor, patch := v.number[0], v.number[1], v.number[2]
	switch {
	case major != 1:
		return major > 1
	case minor == 2:
		return patch >= 8
	case minor == 3:
		return patch >= 3
	case minor == 4 && patch == 0:
		return v.prerelease != "rc.1" && v.prerelease != "rc.2"
	}
	return minor > 3
}

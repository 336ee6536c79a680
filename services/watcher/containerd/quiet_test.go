package containerd

import (
	"strings"
	"testing"
)

func TestNoiseIsTakenOut(t *testing.T) {
	noise := `time="2026-11-24T14:45:46Z" level=error msg="cgroups: epoll wait" error=shutdown runtime=io.containerd.runc.v2` + "\n"
	other := `time="2026-11-24T14:45:46Z" level=error msg="cgroups: epoll wait" error="bad file descriptor"` + "\n"
	var got strings.Builder
	passOn(&got, strings.NewReader(noise+"first\n"+noise+noise+other+"last"))
	if want := "first\n" + other + "last"; got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
}

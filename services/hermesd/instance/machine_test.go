package instance

import (
	"strings"
	"testing"
)

func TestCPUModel(t *testing.T) {
	for cpuinfo, want := range map[string]string{
		"processor\t: 0\nmodel name\t: Intel(R) Xeon(R)  CPU @ 2.30GHz\nflags : fpu\n": "Intel(R) Xeon(R) CPU @ 2.30GHz",
		"processor : 0\nBogoMIPS : 50.00\n":                                            "", // as on arm64
		"":                                                                             "",
		"model name : " + strings.Repeat("é", maxCPUModel):  strings.Repeat("é", maxCPUModel/2),
		"model name : x" + strings.Repeat("é", maxCPUModel): "x" + strings.Repeat("é", maxCPUModel/2-1), // no half of a letter
	} {
		if got := cpuModelOf(cpuinfo); got != want {
			t.Errorf("%q: %q, want %q", cpuinfo, got, want)
		}
	}
}

// Package cuda finds the machine's CUDA toolkit and says what a build is told of it.
package cuda

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// Toolkit is a CUDA toolkit below /usr, which is what a build on base host sees of the machine. Its
// zero value is none.
type Toolkit struct {
	// Bin is the folder of nvcc.
	Bin string
	// Version is "12.4"; empty if nvcc does not say it.
	Version string
	// Architectures are those that nvcc compiles for, as numbers like 90; empty if it does not say.
	Architectures []int
}

// askFor bounds how long nvcc may take to say what it is.
const askFor = 10 * time.Second

// usual is where installers put it.
const usual = "/usr/local/cuda/bin"

// seen is the part of the machine that a sandbox sees.
const seen = "/usr/"

// Find looks for nvcc in PATH, in /usr/local/cuda and in /usr/local/cuda-*, the newest of those. One
// that a sandbox would not see does not count.
func Find(ctx context.Context) Toolkit {
	places := filepath.SplitList(os.Getenv("PATH"))
	return find(ctx, "/", append(places, usual))
}

// find looks in folders of a machine whose root is at root.
func find(ctx context.Context, root string, folders []string) Toolkit {
	for _, bin := range append(slices.Clip(folders), versioned(root)...) {
		if isVisible(root, bin) {
			return ask(ctx, root, bin)
		}
	}
	return Toolkit{}
}

// versioned are the folders of toolkits that are installed beside one another, the newest first.
func versioned(root string) []string {
	names, _ := filepath.Glob(filepath.Join(root, "usr/local/cuda-*"))
	slices.SortFunc(names, func(a, b string) int { return -cmp.Compare(versionOf(a), versionOf(b)) })
	for i, name := range names {
		names[i] = filepath.Join("/", strings.TrimPrefix(name, root), "bin")
	}
	return names
}

// versionOf makes a number of a folder's version that compares as it does: cuda-12.10 is above 12.4.
func versionOf(path string) int {
	major, minor, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), "cuda-"), ".")
	a, _ := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	return a*1000 + b
}

// isVisible says whether nvcc is in a folder and a sandbox finds it there: links, of which
// /etc/alternatives has some, must lead into /usr.
func isVisible(root, bin string) bool {
	if !filepath.IsAbs(bin) || !strings.HasPrefix(bin+"/", seen) {
		return false
	}
	real, err := filepath.EvalSymlinks(filepath.Join(root, bin, "nvcc"))
	if err != nil || !strings.HasPrefix(filepath.Join("/", strings.TrimPrefix(real, root)), seen) {
		return false
	}
	info, err := os.Stat(real)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

var (
	release      = regexp.MustCompile(`release (\d+\.\d+)`)
	architecture = regexp.MustCompile(`(?m)^compute_(\d+)$`)
)

func ask(ctx context.Context, root, bin string) Toolkit {
	t := Toolkit{Bin: bin}
	said := func(flag string) string {
		ctx, cancel := context.WithTimeout(ctx, askFor)
		defer cancel()
		out, _ := exec.CommandContext(ctx, filepath.Join(root, bin, "nvcc"), flag).Output() // older ones do not know every flag
		return string(out)
	}
	if found := release.FindStringSubmatch(said("--version")); found != nil {
		t.Version = found[1]
	}
	for _, found := range architecture.FindAllStringSubmatch(said("--list-gpu-arch"), -1) {
		if n, err := strconv.Atoi(found[1]); err == nil {
			t.Architectures = append(t.Architectures, n)
		}
	}
	return t
}

// Path is the PATH of a command that finds the toolkit.
func (t Toolkit) Path() string {
	return cmp.Or(t.Bin, usual) + ":" + sandbox.DefaultPath
}

// Environment is what a build is told so that its code runs on GPUs of these compute capabilities
// ("9.0"): CUDA_ARCHS names those that nvcc can compile for ("80 90"), NVCC_GENCODE are the flags that
// make it do so, with code that newer GPUs translate themselves. Without any there is nothing to tell.
func (t Toolkit) Environment(capabilities []string) map[string]string {
	var numbers []int
	for _, c := range capabilities {
		major, minor, ok := strings.Cut(c, ".")
		a, errA := strconv.Atoi(major)
		b, errB := strconv.Atoi(minor)
		n := 10*a + b
		if ok && errA == nil && errB == nil && (len(t.Architectures) == 0 || slices.Contains(t.Architectures, n)) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	if len(numbers) == 0 {
		return nil
	}
	var names, flags []string
	for _, n := range numbers {
		names = append(names, strconv.Itoa(n))
		flags = append(flags, fmt.Sprintf("-gencode arch=compute_%d,code=sm_%d", n, n))
	}
	newest := numbers[len(numbers)-1]
	flags = append(flags, fmt.Sprintf("-gencode arch=compute_%d,code=compute_%d", newest, newest))
	return map[string]string{"CUDA_ARCHS": strings.Join(names, " "), "NVCC_GENCODE": strings.Join(flags, " ")}
}

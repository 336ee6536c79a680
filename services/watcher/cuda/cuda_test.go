package cuda

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// nvcc answers as the real one does.
const nvcc = `#!/bin/sh
case $1 in
--version) echo "Cuda compilation tools, release 12.4, V12.4.131" ;;
--list-gpu-arch) printf 'compute_50\ncompute_80\ncompute_90\n' ;;
esac
`

func install(t *testing.T, root, path string, mode os.FileMode) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(nvcc), mode); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, root string)
		want string
	}{
		{"none", func(t *testing.T, root string) { install(t, root, "/usr/bin/g++", 0o755) }, ""},
		{"in PATH", func(t *testing.T, root string) { install(t, root, "/usr/bin/nvcc", 0o755) }, "/usr/bin"},
		{"where a sandbox does not see it", func(t *testing.T, root string) { install(t, root, "/opt/cuda/bin/nvcc", 0o755) }, ""},
		{"a link to where a sandbox does not see it", func(t *testing.T, root string) {
			install(t, root, "/opt/cuda/bin/nvcc", 0o755)
			link(t, filepath.Join(root, "opt/cuda"), filepath.Join(root, "usr/local/cuda"))
		}, ""},
		{"in the usual place", func(t *testing.T, root string) { install(t, root, "/usr/local/cuda/bin/nvcc", 0o755) }, "/usr/local/cuda/bin"},
		{"by the link of the alternatives", func(t *testing.T, root string) {
			install(t, root, "/usr/local/cuda-12.4/bin/nvcc", 0o755)
			link(t, filepath.Join(root, "usr/local/cuda-12.4"), filepath.Join(root, "etc/alternatives/cuda"))
			link(t, filepath.Join(root, "etc/alternatives/cuda"), filepath.Join(root, "usr/local/cuda"))
		}, "/usr/local/cuda/bin"},
		{"the newest of several", func(t *testing.T, root string) {
			for _, v := range []string{"11.8", "12.10", "12.4"} {
				install(t, root, "/usr/local/cuda-"+v+"/bin/nvcc", 0o755)
			}
		}, "/usr/local/cuda-12.10/bin"},
		{"not a file that cannot be executed", func(t *testing.T, root string) { install(t, root, "/usr/local/cuda/bin/nvcc", 0o644) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			c.make(t, root)
			want := Toolkit{Bin: c.want, Version: "12.4", Architectures: []int{50, 80, 90}}
			if c.want == "" {
				want = Toolkit{}
			}
			got := find(t.Context(), root, []string{"bin", "/opt/cuda/bin", "/usr/bin", "/usr/local/cuda/bin"})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	const two = "-gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 -gencode arch=compute_90,code=compute_90"
	for _, c := range []struct {
		name         string
		knows        []int
		capabilities []string
		want         map[string]string
	}{
		{"no GPU", []int{80}, nil, nil},
		{"two kinds, in any order", nil, []string{"9.0", "8.0", "9.0"}, map[string]string{"CUDA_ARCHS": "80 90", "NVCC_GENCODE": two}},
		{"one that is too new, and one that is too old", []int{80, 90}, []string{"6.1", "8.0", "9.0", "12.0"}, map[string]string{"CUDA_ARCHS": "80 90", "NVCC_GENCODE": two}},
		{"none that nvcc knows", []int{80, 90}, []string{"12.0"}, nil},
		{"what is none", nil, []string{"", "9", "a.b"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Toolkit{Architectures: c.knows}.Environment(c.capabilities)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

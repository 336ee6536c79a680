package containerd

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/hermes-serverless/hermes/events"
	"github.com/hermes-serverless/hermes/services/watcher/sandbox"
)

// Devices get into a sandbox by CDI alone: whoever knows them says what a container needs, and this says
// what of that a sandbox can have. A node of the host is bound in, since a container's own root user
// cannot make one; nothing else is opened to it. No hook is run: what NVIDIA's do, links and a search
// path for libraries, is done here without the host's root in the container.

// given is what a sandbox gets for its devices; the zero value is nothing.
type given struct {
	nodes []specs.Mount
	rules []specs.LinuxDeviceCgroup
	// folder of the host stands where the init does: it has a place for each of files.
	folder string
	files  []specs.Mount
	// env is for every command; libraries and programs are where such are searched besides.
	env                 []string
	libraries, programs bool
}

// Where files of drivers appear inside.
const (
	driverDir       = initDir + "/driver"
	driverLibraries = driverDir + "/lib"
	driverPrograms  = driverDir + "/bin"
)

// capabilities are the nodes that say which MIG instance is meant.
const capabilities = "/dev/nvidia-caps/"

// give finds out what a sandbox gets.
func (r *Runtime) give(spec sandbox.Spec) (given, error) {
	if len(spec.Devices) == 0 {
		return given{}, nil
	}
	if r.opts.Devices == nil {
		return given{}, fmt.Errorf("%w: this runtime gives none", sandbox.ErrDevice)
	}
	edits, err := r.opts.Devices(spec.Devices)
	if err != nil {
		return given{}, fmt.Errorf("%w: %w", sandbox.ErrDevice, err)
	}
	g, err := r.translate(spec, edits)
	if err != nil {
		return given{}, fmt.Errorf("%w: %w", sandbox.ErrDevice, err)
	}
	return g, nil
}

func (r *Runtime) translate(spec sandbox.Spec, edits *cdispecs.ContainerEdits) (g given, err error) {
	if err := (&cdi.ContainerEdits{ContainerEdits: edits}).Validate(); err != nil {
		return g, err
	}
	if len(edits.Hooks) > 0 || len(edits.NetDevices) > 0 || edits.IntelRdt != nil || len(edits.AdditionalGIDs) > 0 {
		return g, fmt.Errorf("it takes more than nodes, files and variables, which is all that a sandbox can have")
	}
	for _, node := range edits.DeviceNodes {
		if err := g.addNode(node); err != nil {
			return g, err
		}
	}
	root, binds := r.rootOf(spec)
	var files []driverFile
	for _, mount := range edits.Mounts {
		if spec.Base == events.HostBase && mount.HostPath == mount.ContainerPath && isBelow(mount.HostPath, binds) {
			continue // it is there already
		}
		file, err := placeOf(mount, root)
		if err != nil {
			return g, err
		}
		g.files = append(g.files, readOnly(mount.HostPath, file.inside))
		if file.folder != "" {
			files = append(files, file)
		}
	}
	g.env = edits.Env
	g.libraries = slices.ContainsFunc(files, func(f driverFile) bool { return f.folder == driverLibraries })
	g.programs = slices.ContainsFunc(files, func(f driverFile) bool { return f.folder == driverPrograms })
	if len(files) > 0 {
		g.folder, err = r.driverFolder(files)
	}
	return g, err
}

// addNode binds a node of the host in, and lets the sandbox use it as everybody may, and no more.
func (g *given) addNode(node *cdispecs.DeviceNode) error {
	host := node.HostPath
	if host == "" {
		host = node.Path
	}
	if path.Clean(node.Path) != node.Path || !strings.HasPrefix(node.Path, "/dev/") {
		return fmt.Errorf("the node %s is not below /dev", node.Path)
	}
	var stat unix.Stat_t
	if err := unix.Stat(host, &stat); err != nil {
		return fmt.Errorf("look at the node %s: %w; `hermesd doctor` says what is missing", host, err)
	}
	// The capabilities of MIG instances are only ever read.
	access, need := "rw", uint32(0o006)
	if strings.HasPrefix(node.Path, capabilities) && stat.Mode&0o002 == 0 {
		access, need = "r", 0o004
	}
	switch {
	case stat.Mode&unix.S_IFMT != unix.S_IFCHR:
		return fmt.Errorf("%s is no character device", host)
	case stat.Mode&need != need:
		return fmt.Errorf("the node %s is not for everybody to read and write (mode %#o), and whoever is inside a sandbox is nobody: chmod 666 it, "+
			"and have the driver keep it so (module option NVreg_DeviceFileMode=0666)", host, stat.Mode&0o777)
	}
	major, minor := int64(unix.Major(stat.Rdev)), int64(unix.Minor(stat.Rdev))
	g.rules = append(g.rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &major, Minor: &minor, Access: access})
	g.nodes = append(g.nodes, specs.Mount{
		Destination: node.Path, Type: "bind", Source: host, Options: []string{"bind", "rprivate", "nosuid", "noexec"},
	})
	return nil
}

// driverFile is a file of a driver and where it appears.
type driverFile struct {
	host, inside string
	info         fs.FileInfo
	// folder is driverLibraries or driverPrograms; empty for one that appears where the base has a place
	// for it.
	folder string
}

// placeOf finds the place of a file inside: the driver's folder if it is a library or a program, else
// the one that is asked for, which must be there, as the root of a base is not changed.
func placeOf(mount *cdispecs.Mount, root string) (driverFile, error) {
	file := driverFile{host: mount.HostPath, inside: mount.ContainerPath}
	info, err := os.Stat(mount.HostPath)
	if err != nil {
		return file, fmt.Errorf("look for a file of the driver: %w", err)
	}
	file.info = info
	name := path.Base(mount.ContainerPath)
	switch {
	case path.Clean(mount.ContainerPath) != mount.ContainerPath || !path.IsAbs(mount.ContainerPath):
		return file, fmt.Errorf("the place %s of a file is no clean path", mount.ContainerPath)
	case info.Mode().IsRegular() && isLibrary(name):
		file.folder = driverLibraries
	case info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0:
		file.folder = driverPrograms
	default:
		return file, checkPlace(root, mount.ContainerPath, info)
	}
	file.inside = path.Join(file.folder, name)
	return file, nil
}

func isLibrary(name string) bool {
	return strings.HasPrefix(name, "lib") && (strings.HasSuffix(name, ".so") || strings.Contains(name, ".so."))
}

// checkPlace makes sure that a base has a file or a folder where one is to appear. No link is followed:
// it would lead elsewhere inside than out here.
func checkPlace(root, inside string, what fs.FileInfo) error {
	at := root
	for part := range strings.SplitSeq(strings.Trim(inside, "/"), "/") {
		at = filepath.Join(at, part)
		info, err := os.Lstat(at)
		if err != nil || info.Mode()&fs.ModeSymlink != 0 {
			return fmt.Errorf("the base has no place for %s: nothing, or a link, is at %s", inside, strings.TrimPrefix(at, root))
		}
	}
	if info, err := os.Lstat(at); err != nil || info.IsDir() != what.IsDir() {
		return fmt.Errorf("the base has no place for %s: a file cannot appear over a folder, nor the other way round", inside)
	}
	return nil
}

// isBelow says that a path is one of the folders or in one.
func isBelow(file string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return file == f || strings.HasPrefix(file, f+"/") })
}

// environment adds to a command's environment what its devices need. What they say of themselves
// replaces what the command has; folders are searched behind its own.
func (g given) environment(env []string) []string {
	if len(g.env) == 0 && !g.libraries && !g.programs {
		return env
	}
	all := slices.Clone(env)
	for _, variable := range g.env {
		name, _, _ := strings.Cut(variable, "=")
		all = slices.DeleteFunc(all, func(v string) bool { return strings.HasPrefix(v, name+"=") })
		all = append(all, variable)
	}
	if g.libraries {
		all = search(all, "LD_LIBRARY_PATH", "", driverLibraries)
	}
	if g.programs {
		all = search(all, "PATH", sandbox.DefaultPath, driverPrograms)
	}
	return all
}

// search adds a folder to those that a variable has.
func search(env []string, name, otherwise, folder string) []string {
	for i, variable := range env {
		if value, ok := strings.CutPrefix(variable, name+"="); ok && value != "" {
			env[i] = variable + ":" + folder
			return env
		} else if ok {
			env[i] = name + "=" + folder
			return env
		}
	}
	if otherwise != "" {
		folder = otherwise + ":" + folder
	}
	return append(env, name+"="+folder)
}

// The mount table and the root directory.
#include "attack.h"

#include <sys/mount.h>
#include <sys/vfs.h>

static const char spot[] = "/tmp/spot";

static verdict mount_here(const char *type, const char *options)
{
	mkdir(spot, 0700);
	int r = mount(type, spot, type, 0, options);
	if (r < 0) return errno == ENODEV ? absent("the kernel has no such file system") : held("mount");
	umount2(spot, MNT_DETACH);
	return reached("mounted %s", type);
}

static verdict mount_tmpfs(void) { return mount_here("tmpfs", ""); }

static verdict mount_proc(void) { return mount_here("proc", ""); }

static verdict mount_cgroup(void) { return mount_here(number("HOST_CGROUP2") ? "cgroup2" : "cgroup", number("HOST_CGROUP2") ? "" : "memory"); }

static verdict mount_bind(void)
{
	mkdir(spot, 0700);
	if (mount("/usr", spot, NULL, MS_BIND | MS_REC, NULL) < 0) return held("bind");
	umount2(spot, MNT_DETACH);
	return reached("bound /usr");
}

static verdict mount_new_calls(void) { return judge("fsopen", syscall(SYS_fsopen, "tmpfs", 0)); }

static verdict clone_mount(void)
{
	return judge("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/usr", 1 /* OPEN_TREE_CLONE */ | AT_RECURSIVE));
}

// Never without MS_BIND, which would remount the host's own file system.
static verdict remount_usr(void)
{
	if (mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL) < 0) return held("remount");
	int fd = open("/usr/bin/env", O_WRONLY | O_CLOEXEC), code = errno;
	mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
	errno = code;
	return judge_past("remounted /usr and opened a file to write", fd, ETXTBSY);
}

// Nothing is mounted there, which is noticed after the permissions.
static verdict unmount(void) { return judge_past("umount2", umount2("/etc", 0), EINVAL); }

static verdict pivot(void) { return judge_past("pivot_root", syscall(SYS_pivot_root, "/tmp/none", "/tmp/none"), ENOENT); }

// Out of a jail inside the jail: with a handle on the outer root, ".." knows no bound.
static verdict double_chroot(void)
{
	mkdir("/tmp/jail", 0700);
	int outside = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (chroot("/tmp/jail") < 0) return held("chroot");
	if (fchdir(outside) < 0) return held("fchdir");
	for (int i = 0; i < 64; i++)
		if (chdir("..") < 0) return held("chdir");
	if (chroot(".") < 0) return held("chroot .");
	errno = ENOENT;
	return holds_marker(open(fact("HOST_ARTIFACT"), O_RDONLY)) ? reached("left the root directory") : held("look outside");
}

// Inode 2 is the root directory of an ext4 file system, whatever part of it is bound here.
static verdict file_handle(void)
{
	struct statfs fs;
	struct { struct file_handle head; unsigned inode, generation; } handle = {{.handle_bytes = 8, .handle_type = 1}, 2, 0};
	if (statfs("/usr", &fs) < 0 || fs.f_type != 0xEF53) return absent("/usr is on another file system than ext4");
	int root = open_by_handle_at(open("/usr", O_RDONLY | O_CLOEXEC), &handle.head, O_RDONLY | O_DIRECTORY);
	if (root < 0) return held("open_by_handle_at");
	return judge("opened the host's root by its inode", openat(root, "root", O_PATH));
}

static verdict name_handle(void)
{
	struct { struct file_handle head; char bytes[128]; } handle = {{.handle_bytes = 128}, ""};
	int id;
	return judge("name_to_handle_at", name_to_handle_at(AT_FDCWD, "/usr", &handle.head, &id, 0));
}

const struct attack mount_attacks[] = {
	{"mount-tmpfs", mount_tmpfs}, {"mount-proc", mount_proc}, {"mount-cgroup", mount_cgroup},
	{"mount-bind", mount_bind}, {"mount-new-calls", mount_new_calls}, {"clone-mount", clone_mount},
	{"remount-usr", remount_usr}, {"unmount", unmount}, {"pivot-root", pivot}, {"double-chroot", double_chroot},
	{"file-handle", file_handle}, {"name-handle", name_handle}, {NULL, NULL},
};

// Devices: a disk of the host's, its terminals, its memory.
#include "attack.h"

#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <termios.h>

static dev_t disk(void) { return makedev((unsigned)number("HOST_DISK_MAJOR"), (unsigned)number("HOST_DISK_MINOR")); }

static verdict open_device(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENXIO) return absent("the kernel has no such device");
	return judge(path, fd);
}

static verdict make_device(mode_t kind, dev_t device)
{
	unlink("/tmp/device");
	if (mknod("/tmp/device", kind | 0600, device) < 0) return held("mknod");
	verdict v = open_device("/tmp/device");
	unlink("/tmp/device");
	return v;
}

static verdict make_disk(void) { return make_device(S_IFBLK, disk()); }

static verdict make_memory(void) { return make_device(S_IFCHR, makedev(1, 1)); }

static verdict make_ports(void) { return make_device(S_IFCHR, makedev(1, 4)); }

static verdict make_kernel_log(void) { return make_device(S_IFCHR, makedev(1, 11)); }

static verdict make_fuse(void) { return make_device(S_IFCHR, makedev(10, 229)); }

// The host's own device file.
static verdict host_disk(void)
{
	char link[64], target[4096] = "";
	snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major(disk()), minor(disk()));
	if (readlink(link, target, sizeof target - 1) < 0) return absent("/sys does not know the disk");
	char *name = strrchr(target, '/'), path[64];
	snprintf(path, sizeof path, "/dev%.50s", name);
	int fd = open_host(path, O_RDONLY);
	return fd < 0 ? held(path) : reached("opened %s", path);
}

// A device file that a careless host left in the function's folder, for everybody to open.
static verdict folder_disk(void)
{
	if (number("HOST_BUILD")) return absent("a build's folder is its own");
	if (number("HOST_TAME")) return absent("the test's own folder knows no devices");
	return open_device("/function/disk");
}

// Devices are bound from the host's /dev: the file's owner could lock everybody out.
static verdict device_mode(void)
{
	struct stat st;
	if (stat("/dev/null", &st) < 0) return held("stat");
	return judge("changed the mode of the host's /dev/null", chmod("/dev/null", st.st_mode & 07777));
}

// Typing into a terminal whose other side a shell of the host reads.
static verdict type_ahead(void)
{
	setsid();
	for (int fd = 0; fd < 3; fd++) {
		if (!isatty(fd)) continue;
		ioctl(fd, TIOCSCTTY, 0);
		if (ioctl(fd, TIOCSTI, "#") < 0) return held("TIOCSTI");
		return reached("typed into descriptor %d", fd);
	}
	errno = ENOTTY;
	return held("find a terminal");
}

const struct attack device_attacks[] = {
	{"make-disk", make_disk}, {"make-memory", make_memory}, {"make-ports", make_ports},
	{"make-kernel-log", make_kernel_log}, {"make-fuse", make_fuse}, {"host-disk", host_disk},
	{"folder-disk", folder_disk}, {"device-mode", device_mode}, {"type-ahead", type_ahead}, {NULL, NULL},
};

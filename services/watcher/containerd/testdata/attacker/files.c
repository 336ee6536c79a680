// Files of the host: to read what is secret, and to change what is shared.
#include "attack.h"

static verdict read_marked(const char *path)
{
	int fd = open_host(path, O_RDONLY);
	if (fd < 0) return held("open");
	errno = ENODATA;
	return holds_marker(fd) ? reached("read %s", path) : held("read");
}

// A file of hermesd's data directory, readable by its owner only.
static verdict data_directory(void) { return read_marked(fact("HOST_SECRET")); }

// Another function's artifact: everybody may read it, as the sandbox's user is nobody's equal.
static verdict other_artifact(void) { return read_marked(fact("HOST_ARTIFACT")); }

static verdict shadow(void)
{
	int fd = open_host("/etc/shadow", O_RDONLY);
	return fd < 0 ? held("open /etc/shadow") : reached("opened /etc/shadow");
}

static verdict list(const char *path)
{
	int fd = open_host(path, O_RDONLY | O_DIRECTORY);
	return fd < 0 ? held(path) : reached("listed %s", path);
}

static verdict root_home(void) { return list("/root"); }

static verdict other_homes(void) { return list(fact("HOST_HOME")); }

// ETXTBSY comes after the permissions: somebody executes the file just now.
static verdict open_to_write(const char *path)
{
	return judge_past(path, open(path, O_WRONLY | O_CLOEXEC), ETXTBSY);
}

static verdict usr_write(void) { return open_to_write("/usr/bin/env"); }

static verdict root_create(void)
{
	int fd = open("/escape", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0) return held("create /escape");
	unlink("/escape");
	return reached("created /escape");
}

static int in_build(void) { return number("HOST_BUILD") != 0; }

static const char own_folder[] = "a build's folder is its own";

static verdict function_write(void) { return in_build() ? absent(own_folder) : open_to_write("/function/other"); }

static verdict function_symlink(void)
{
	if (in_build()) return absent(own_folder);
	if (symlink("/etc/shadow", "/function/link") < 0) return held("symlink");
	unlink("/function/link");
	return reached("made a link in /function");
}

// The race for the handler: another file in its place while it is being started.
static verdict handler_swap(void)
{
	if (in_build()) return absent(own_folder);
	const char *one = "/function/handler", *two = "/function/other";
	if (renameat2(AT_FDCWD, one, AT_FDCWD, two, RENAME_EXCHANGE) < 0) return held("exchange");
	renameat2(AT_FDCWD, one, AT_FDCWD, two, RENAME_EXCHANGE);
	return reached("put another file in the handler's place");
}

// A second name for a file that cannot be read, made where it can be looked up.
static verdict hardlink(void)
{
	char from[4096], to[4200];
	snprintf(from, sizeof from, HOST "%s", fact("HOST_SECRET"));
	snprintf(to, sizeof to, "%s.link", from);
	if (link(from, to) < 0) return held("link");
	unlink(to);
	return reached("linked %s", from);
}

// A setuid program that a careless host left in the function's folder.
static verdict setuid_program(void)
{
	int status;
	if (in_build()) return absent(own_folder);
	if (number("HOST_TAME")) return absent("the test's own folder knows no setuid");
	pid_t pid = fork();
	if (pid == 0) {
		if (getuid() == 0 && setresuid(65534, 65534, 65534) < 0) _exit(2);
		execl("/function/setuid", "setuid", "uid", NULL);
		_exit(3);
	}
	waitpid(pid, &status, 0);
	errno = EPERM;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? reached("became root") : held("setuid");
}

const struct attack file_attacks[] = {
	{"data-directory", data_directory}, {"other-artifact", other_artifact}, {"shadow", shadow},
	{"root-home", root_home}, {"other-homes", other_homes}, {"usr-write", usr_write},
	{"root-create", root_create}, {"function-write", function_write}, {"function-symlink", function_symlink},
	{"handler-swap", handler_swap}, {"hardlink", hardlink}, {"setuid-program", setuid_program}, {NULL, NULL},
};

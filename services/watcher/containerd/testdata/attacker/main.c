// attacker is a hostile handler. It tries the attacks that it is given by name, or all of them, and
// prints a line for each:
//
//   NAME <tab> reached|held|absent <tab> what happened
//
// As `attacker victim` (on the host) and `attacker neighbour` (in another sandbox) it is whom others
// attack; as `attacker uid` it tells whether it became root.
#include "attack.h"

#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>

enum { PATIENCE = 10 }; // seconds

pid_t init_pid, helper;
const char marker[] = MARKER;

static const char *now; // the name of the attack that runs

static verdict tell(verdict v, const char *word, const char *format, va_list args)
{
	char text[200];
	vsnprintf(text, sizeof text, format, args);
	dprintf(1, "%s\t%s\t%s\n", now, word, text);
	return v;
}

verdict reached(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	verdict v = tell(REACHED, "reached", format, args);
	va_end(args);
	return v;
}

static verdict say(verdict v, const char *word, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	tell(v, word, format, args);
	va_end(args);
	return v;
}

verdict held(const char *what) { return say(HELD, "held", "%s: %s", what, strerror(errno)); }

verdict absent(const char *why) { return say(ABSENT, "absent", "%s", why); }

verdict judge(const char *what, long result) { return judge_past(what, result, 0); }

verdict judge_past(const char *what, long result, int error)
{
	if (result >= 0 || (error && errno == error)) return reached("%s", what);
	if (errno == ENOSYS) return absent("the kernel has no such call");
	return held(what);
}

const char *fact(const char *name)
{
	const char *value = getenv(name);
	if (!value) {
		dprintf(2, "the test does not say %s\n", name);
		_exit(1);
	}
	return value;
}

long number(const char *name) { return atol(fact(name)); }

int in_host_namespace(const char *kind)
{
	char path[64], link[64] = "";
	snprintf(path, sizeof path, "/proc/self/ns/%s", kind);
	if (readlink(path, link, sizeof link - 1) < 0) return 0;
	snprintf(path, sizeof path, "HOST_NS_%s", kind);
	return strcmp(link, fact(path)) == 0;
}

int holds_marker(int fd)
{
	char text[sizeof marker] = "";
	if (fd < 0) return 0;
	ssize_t n = read(fd, text, sizeof marker - 1);
	close(fd);
	return n == sizeof marker - 1 && strcmp(text, marker) == 0;
}

int open_host(const char *path, int flags)
{
	char below[4096];
	int fd = open(path, flags | O_CLOEXEC);
	if (fd >= 0) return fd;
	int code = errno;
	snprintf(below, sizeof below, HOST "%s", path);
	fd = open(below, flags | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) errno = code;
	return fd;
}

verdict rewrite(const char *path)
{
	char value[4096];
	int fd = open_host(path, O_RDONLY);
	if (fd < 0) return errno == ENOENT ? absent("it is not there") : held("open to read");
	ssize_t n = read(fd, value, sizeof value - 1);
	close(fd);
	if (n < 0) return held("read");
	if (n == 0) value[n++] = '\n'; // empty is written as an empty line
	if ((fd = open_host(path, O_WRONLY)) < 0) return held("open to write");
	if (write(fd, value, (size_t)n) != n) return held("write");
	return reached("wrote %s", path);
}

// victim waits until its input ends, with the marker in its memory and a file.
static int victim(const char *path)
{
	char byte;
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (write(fd, marker, sizeof marker) < 0) return 1;
	dprintf(1, "ready\n");
	while (read(0, &byte, 1) > 0) {}
	return 0;
}

static void try(const struct attack *a)
{
	int status;
	now = a->name;
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(PATIENCE);
		a->try();
		if (helper > 0) kill(helper, SIGKILL);
		_exit(TOLD);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
	if (WIFSIGNALED(status)) say(HELD, "held", "killed by signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status) != TOLD) say(HELD, "broken", "exit code %d", WEXITSTATUS(status));
}

static int wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], name) == 0) return 1;
	return argc == 1;
}

int main(int argc, char **argv)
{
	const struct attack *themes[] = {
		init_attacks, file_attacks, mount_attacks, device_attacks, kernel_file_attacks,
		process_attacks, call_attacks, admin_attacks, network_attacks, host_attacks, NULL,
	};
	if (argc == 2 && strcmp(argv[1], "victim") == 0) return victim("/dev/null");
	if (argc == 2 && strcmp(argv[1], "neighbour") == 0) return victim("/tmp/secret");
	if (argc == 2 && strcmp(argv[1], "uid") == 0) return geteuid() == 0 ? 0 : 1;
	init_pid = number("HOST_BUILD") ? 1 : getppid(); // make stands between
	for (int t = 0; themes[t]; t++)
		for (const struct attack *a = themes[t]; a->name; a++)
			if (wanted(a->name, argc, argv)) try(a);
	return 0;
}

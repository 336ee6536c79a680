// The attacks of the abuse suite: abuse NAME [N] [PATH]. It exits with 0 when it got all that it
// wanted, with 1 when it was refused something, and with 2 when it is no attack.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1L << 20)

static long n;            // how much is wanted
static const char *where; // a path
static char block[1 << 20];

static void need(int got, const char *what)
{
	if (got) return;
	fprintf(stderr, "refused: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static void rest(void)
{
	for (;;) pause();
}

// ---- processes ----

static int processes(void)
{
	for (long i = 0; i < n; i++) {
		pid_t pid = fork();
		need(pid >= 0, "fork");
		if (pid == 0) rest();
	}
	return 0;
}

static int bomb(void)
{
	signal(SIGTERM, SIG_IGN);
	while (fork() != -2) {}
	return 0;
}

static void deafen(void)
{
	for (int s = 1; s < NSIG; s++) signal(s, SIG_IGN);
}

static int churn(void)
{
	for (;;) {
		pid_t pid = fork();
		if (pid == 0) _exit(0);
		if (pid > 0) waitpid(pid, NULL, 0);
	}
}

static int zombies(void)
{
	for (long i = 0; i < n; i++) {
		pid_t pid = fork();
		need(pid >= 0, "fork");
		if (pid == 0) _exit(0);
	}
	siginfo_t info; // all have ended, and none is waited for
	for (long i = 0; i < n; i++) need(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0, "waitid");
	return 0;
}

static void *sleeps(void *ignored)
{
	rest();
	return ignored;
}

static void *spins(void *ignored)
{
	for (volatile long i = 0;; i++) {}
	return ignored;
}

static int threads(void *(*does)(void *))
{
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 32 << 10);
	for (long i = 0; i < n; i++) {
		pthread_t thread;
		errno = pthread_create(&thread, &small, does, NULL);
		need(errno == 0, "pthread_create");
	}
	return 0;
}

static int asleep(void) { return threads(sleeps); }

static int spin(void)
{
	threads(spins);
	spins(NULL);
	return 0;
}

// daemons leaves processes behind that hold the pipes open and hear no signal.
static int daemons(void)
{
	for (long i = 0; i < n; i++) {
		if (fork() > 0) continue;
		setsid();
		if (fork() > 0) _exit(0);
		deafen();
		rest();
	}
	while (wait(NULL) > 0) {}
	return 0;
}

static int stopped(void)
{
	if (fork() == 0) rest();
	kill(0, SIGSTOP);
	rest();
	return 0;
}

static int deaf(void)
{
	deafen();
	rest();
	return 0;
}

// ---- memory ----

static void touch(char *at)
{
	for (long i = 0; i < n * MIB; i += 4096) at[i] = 1;
}

static int anonymous(void)
{
	char *at = mmap(NULL, n * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(at != MAP_FAILED, "mmap");
	touch(at);
	return 0;
}

static int shared(void)
{
	char *at = mmap(NULL, n * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(at != MAP_FAILED, "mmap");
	touch(at);
	return 0;
}

// locked locks what it can get, which may be less than it may use.
static int locked(void)
{
	mlockall(MCL_CURRENT | MCL_FUTURE);
	void *some = mmap(NULL, n * MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (some == MAP_FAILED) munlockall();
	return anonymous();
}

static int sysv(void)
{
	int id = shmget(IPC_PRIVATE, n * MIB, IPC_CREAT | 0600);
	need(id >= 0, "shmget");
	char *at = shmat(id, NULL, 0);
	need(at != (char *)-1, "shmat");
	touch(at);
	return 0;
}

static void pour(int fd)
{
	for (long i = 0; i < n; i++)
		for (long done = 0; done < MIB;) {
			ssize_t some = write(fd, block, (size_t)(MIB - done));
			need(some > 0, "write");
			done += some;
		}
}

static int memfd(void)
{
	int fd = memfd_create("abuse", 0);
	need(fd >= 0, "memfd_create");
	pour(fd);
	return 0;
}

// sockets fills the queues of sockets that nobody reads.
static int sockets(void)
{
	for (long sent = 0; sent < n * MIB;) {
		int pair[2];
		need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0, "socketpair");
		for (ssize_t some; (some = write(pair[0], block, 16 << 10)) > 0;) sent += some;
	}
	return 0;
}

static int pipes(void)
{
	for (long sent = 0; sent < n * MIB;) {
		int pair[2];
		need(pipe2(pair, O_NONBLOCK) == 0, "pipe2");
		fcntl(pair[1], F_SETPIPE_SZ, 1 << 20);
		for (ssize_t some; (some = write(pair[1], block, sizeof block)) > 0;) sent += some;
	}
	return 0;
}

// ---- files ----

static int fill(void)
{
	int fd = open(where, O_CREAT | O_WRONLY, 0600);
	need(fd >= 0, "open");
	pour(fd);
	return 0;
}

// unlinked fills a file that no folder shows.
static int unlinked(void)
{
	int fd = open(where, O_CREAT | O_WRONLY, 0600);
	need(fd >= 0, "open");
	unlink(where);
	pour(fd);
	return 0;
}

// mapped fills a file through memory, where no call can fail.
static int mapped(void)
{
	int fd = open(where, O_CREAT | O_RDWR, 0600);
	need(fd >= 0 && ftruncate(fd, n * MIB) == 0, "ftruncate");
	char *at = mmap(NULL, n * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(at != MAP_FAILED, "mmap");
	touch(at);
	return 0;
}

static int files(void)
{
	need(chdir(where) == 0, "chdir");
	for (long i = 0; i < n; i++) {
		char name[32];
		snprintf(name, sizeof name, "%ld", i);
		int fd = open(name, O_CREAT | O_WRONLY, 0600);
		need(fd >= 0, "open");
		close(fd);
	}
	return 0;
}

static int deep(void)
{
	need(chdir(where) == 0, "chdir");
	for (long i = 0; i < n; i++) need(mkdir("d", 0700) == 0 && chdir("d") == 0, "mkdir");
	return 0;
}

static int descriptors(void)
{
	for (long i = 0; i < n; i++) need(open("/dev/null", O_RDONLY) >= 0, "open");
	return 0;
}

// ---- standard streams ----

static void prints(int fd)
{
	memset(block, 'x', sizeof block); // and no line ever ends
	if (n > 0) pour(fd);
	while (n == 0) need(write(fd, block, sizeof block) > 0, "write");
}

static int out(void)
{
	prints(1);
	return 0;
}

static int err(void)
{
	prints(2);
	return 0;
}

static int both(void)
{
	if (fork() == 0) {
		prints(2);
		_exit(0);
	}
	prints(1);
	wait(NULL);
	return 0;
}

// dribble prints N KiB of single bytes, each with a call of its own.
static int dribble(void)
{
	for (long i = 0; n == 0 || i < n * 1024; i++) need(write(1, "\n", 1) == 1, "write");
	return 0;
}

static int closed(void)
{
	close(0);
	close(1);
	close(2);
	return 0;
}

static int unread(void) { return 0; }

// ---- privileges ----

static int gained;

static void try(const char *what, long result)
{
	if (result < 0) return;
	printf("gained: %s\n", what);
	gained++;
}

static long echo(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	return fd < 0 ? -1 : write(fd, text, strlen(text));
}

static int priority(void)
{
	struct sched_param one = {.sched_priority = 1};
	struct rlimit most;
	getrlimit(RLIMIT_NOFILE, &most);
	struct rlimit more = {most.rlim_max + 1, most.rlim_max + 1};
	try("nice", setpriority(PRIO_PROCESS, 0, -5));
	try("the real-time class of disks", syscall(SYS_ioprio_set, 1, 0, 1 << 13));
	try("the real-time queue", sched_setscheduler(0, SCHED_FIFO, &one));
	try("the round-robin queue", sched_setscheduler(0, SCHED_RR, &one));
	try("more descriptors", setrlimit(RLIMIT_NOFILE, &more));
	// Down to hermesd's own value it may go where hermesd may not forbid it (no CAP_SYS_RESOURCE).
	try("safety from the kernel's choice", echo("/proc/self/oom_score_adj", "-1"));
	try("another cgroup", echo("/sys/fs/cgroup/memory/cgroup.procs", "0"));
	try("a core dump", setrlimit(RLIMIT_CORE, &(struct rlimit){1, 1}));
	return gained > 0 ? 0 : 1;
}

// torment does to the init what its own user may do to any process.
static int torment(void)
{
	struct sched_param none = {0};
	struct rlimit few = {3, 3};
	cpu_set_t first;
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	for (int s = 1; s < NSIG; s++) kill(1, s);
	prlimit(1, RLIMIT_NOFILE, &few, NULL);
	sched_setaffinity(1, sizeof first, &first);
	setpriority(PRIO_PROCESS, 1, 19);
	sched_setscheduler(1, SCHED_IDLE, &none);
	return 0;
}

static void again(int signal) { (void)signal; }

static int timers(void)
{
	signal(SIGALRM, again);
	for (long i = 0; i < n; i++) {
		timer_t timer;
		struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
		struct itimerspec often = {{0, 1000}, {0, 1000}};
		need(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "timer_create");
		timer_settime(timer, 0, &often, NULL);
	}
	rest();
	return 0;
}

// arguments executes itself with N MiB of them.
static int arguments(char **self)
{
	char **list = calloc((size_t)n * 16 + 3, sizeof *list);
	char *piece = malloc(64 << 10);
	memset(piece, 'x', (64 << 10) - 1);
	piece[(64 << 10) - 1] = 0;
	list[0] = self[0];
	list[1] = "unread";
	for (long i = 0; i < n * 16; i++) list[i + 2] = piece;
	execve(self[0], list, NULL);
	need(0, "execve");
	return 1;
}

// ---- the neighbour ----

static void right(int is, const char *what)
{
	if (is) return;
	fprintf(stderr, "wrong: %s: %s\n", what, strerror(errno));
	_exit(3);
}

// step does a little of all that a function does, and checks it.
static void step(void)
{
	static char back[64 << 10];
	int status, fd = open("/tmp/own", O_CREAT | O_TRUNC | O_RDWR, 0600);
	memset(block, 'n', sizeof block);
	right(fd >= 0 && write(fd, block, sizeof back) == (ssize_t)sizeof back, "a write to /tmp");
	right(pread(fd, back, sizeof back, 0) == (ssize_t)sizeof back && memcmp(back, block, sizeof back) == 0, "a read from /tmp");
	close(fd);
	pid_t pid = fork();
	if (pid == 0) _exit(7);
	right(pid > 0 && waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7, "a child");
	char *memory = malloc(4 * MIB);
	right(memory != NULL, "memory");
	memset(memory, 1, 4 * MIB);
	free(memory);
}

// neighbour works until it is told to end, and then shows that it still can.
static int neighbour(void)
{
	step();
	right(write(1, "up\n", 3) == 3, "output");
	struct timespec pause = {0, 5 * 1000 * 1000};
	while (access(where, F_OK) != 0) {
		step();
		nanosleep(&pause, NULL);
	}
	for (int i = 0; i < 5; i++) step();
	right(write(1, "well\n", 5) == 5, "output");
	return 0;
}

// ---- which one ----

static const struct {
	const char *name;
	int (*run)(void);
} attacks[] = {
	{"processes", processes}, {"bomb", bomb}, {"churn", churn}, {"zombies", zombies}, {"threads", asleep},
	{"spin", spin}, {"daemons", daemons}, {"stopped", stopped}, {"deaf", deaf}, {"anonymous", anonymous},
	{"shared", shared}, {"locked", locked}, {"sysv", sysv}, {"memfd", memfd}, {"sockets", sockets},
	{"pipes", pipes}, {"fill", fill}, {"unlinked", unlinked}, {"mapped", mapped}, {"files", files},
	{"deep", deep}, {"descriptors", descriptors}, {"out", out}, {"err", err}, {"both", both},
	{"dribble", dribble}, {"closed", closed}, {"unread", unread}, {"priority", priority}, {"torment", torment},
	{"timers", timers}, {"neighbour", neighbour},
};

int main(int argc, char **argv)
{
	if (argc < 2) return 2;
	n = argc > 2 ? atol(argv[2]) : 0;
	where = argc > 3 ? argv[3] : "/tmp/abuse";
	if (strcmp(argv[1], "arguments") == 0) return arguments(argv);
	for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++)
		if (strcmp(argv[1], attacks[i].name) == 0) return attacks[i].run();
	return 2;
}

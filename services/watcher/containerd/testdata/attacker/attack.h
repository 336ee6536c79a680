// What the attacks share. An attack is a short function that tries one way out of the sandbox and says
// how it went. Each runs in a process of its own, and leaves the machine as it found it when it gets
// through: it opens without writing, or writes the value that is there already.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

// HOST is where the host's root appears when it is not kept out.
#define HOST "/tmp/host"

// TOLD is the exit code of an attack that has said how it went.
enum { TOLD = 42 };

typedef enum { REACHED, HELD, ABSENT } verdict;

struct attack {
	const char *name;
	verdict (*try)(void);
};

// The attacks of each file, ended by a name that is NULL.
extern const struct attack file_attacks[], mount_attacks[], device_attacks[], kernel_file_attacks[],
	process_attacks[], init_attacks[], call_attacks[], admin_attacks[], network_attacks[], host_attacks[];

// init_pid is hermes-init's number, as the sandbox sees it.
extern pid_t init_pid;
// helper is a process that the attack leaves behind; it is ended with the attack.
extern pid_t helper;
// marker is what the secrets of the test begin with. Every attacker has it at the same address.
#define MARKER "hermes-escape-secret"
extern const char marker[sizeof MARKER];

// reached: the attack got through; held: it was refused, errno says how; absent: this machine or kernel
// has nothing to attack.
verdict reached(const char *format, ...) __attribute__((format(printf, 1, 2)));
verdict held(const char *what);
verdict absent(const char *why);
// judge is reached for a call's result that is no error, and absent where the kernel lacks the call.
verdict judge(const char *what, long result);
// judge_past is judge, but the given error too says that the call got past the check of permissions.
verdict judge_past(const char *what, long result, int error);

// fact is what the test tells about the host under a name. The test tells all of them.
const char *fact(const char *name);
long number(const char *name);
// in_host_namespace: the sandbox has the host's own namespace of a kind, such as "net".
int in_host_namespace(const char *kind);
// holds_marker: what can be read from fd begins with the marker. It closes fd.
int holds_marker(int fd);
// open_host opens a path of the host, where it would be and below HOST.
int open_host(const char *path, int flags);
// rewrite writes the value back that a file of the host's kernel holds.
verdict rewrite(const char *path);

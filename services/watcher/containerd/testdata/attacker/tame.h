// Compiled into hermes-init to weaken it: -include tame.h -DANY_PID lets it run in the host's pid
// namespace, and keeps it from the signals to everybody that would be meant for its own; -DDUMPABLE
// leaves it open to other processes of its user.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifdef ANY_PID
static inline pid_t pid_one(void) { return 1; }

static inline int tame_kill(pid_t pid, int signal)
{
	errno = ESRCH;
	return pid == -1 ? -1 : kill(pid, signal);
}
#define getpid pid_one
#define kill tame_kill
#endif

#ifdef DUMPABLE
static inline int leave_dumpable(int option, ...) { return -(option != PR_SET_DUMPABLE); }
#define prctl leave_dumpable
#endif

// System V and POSIX objects that a process of the host shares with everybody.
#include "attack.h"

#include <mqueue.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static verdict shared_memory(void)
{
	int id = shmget((key_t)number("HOST_SHM"), 0, 0);
	if (id < 0) return held("shmget");
	char *memory = shmat(id, NULL, SHM_RDONLY);
	if (memory == (char *)-1) return held("shmat");
	errno = ENODATA;
	return memcmp(memory, marker, sizeof marker - 1) == 0 ? reached("read shared memory of the host") : held("read");
}

static verdict messages(void) { return judge("opened a message queue of the host", msgget((key_t)number("HOST_MSG"), 0)); }

static verdict posix_queue(void) { return judge("opened a POSIX queue of the host", syscall(SYS_mq_open, fact("HOST_MQ"), O_RDONLY, 0, NULL)); }

const struct attack host_attacks[] = {
	{"shared-memory", shared_memory}, {"messages", messages}, {"posix-queue", posix_queue}, {NULL, NULL},
};

// The program that every way of running one is measured with. What it does stands on its stdin:
//   (nothing)     prints "ok" and ends
//   lines N MS    prints N lines, one each MS milliseconds: the time when it was printed, as
//                 nanoseconds since 1970
//   bytes N       prints N bytes
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void put(const char *data, size_t size) {
	while (size > 0) {
		ssize_t n = write(1, data, size);
		if (n <= 0)
			_exit(1);
		data += n;
		size -= (size_t)n;
	}
}

static void lines(long count, long millis) {
	for (long i = 0; i < count; i++) {
		struct timespec pause = {millis / 1000, millis % 1000 * 1000000}, now;
		nanosleep(&pause, NULL);
		clock_gettime(CLOCK_REALTIME, &now);
		char line[32];
		put(line, (size_t)snprintf(line, sizeof line, "%lld%09ld\n", (long long)now.tv_sec, now.tv_nsec));
	}
}

static void bytes(long count) {
	static char block[65536];
	memset(block, 'x', sizeof block);
	for (; count > 0; count -= (long)sizeof block)
		put(block, count < (long)sizeof block ? (size_t)count : sizeof block);
}

int main(void) {
	char input[64];
	ssize_t n = read(0, input, sizeof input - 1);
	input[n > 0 ? n : 0] = 0;
	long count, millis;
	if (sscanf(input, "lines %ld %ld", &count, &millis) == 2)
		lines(count, millis);
	else if (sscanf(input, "bytes %ld", &count) == 1)
		bytes(count);
	else
		put("ok\n", 3);
	return 0;
}

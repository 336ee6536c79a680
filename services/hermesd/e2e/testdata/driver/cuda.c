/*
 * As much of libcuda as deployments/bench/gpu/probe.c takes, on the CPU. It wants the nodes of the driver,
 * which only a sandbox that was given the GPU has.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef int result;
typedef unsigned long long pointer;

enum { none = 100, full = 2, start_micros = 50000 };

static size_t room = 1100ull << 20;
static volatile int spins;

result cuInit(unsigned flags)
{
	(void)flags;
	usleep(start_micros);
	return access("/dev/nvidiactl", R_OK | W_OK) || access("/dev/nvidia-uvm", R_OK | W_OK) ? none : 0;
}

result cuDeviceGet(int *to, int index)
{
	*to = index;
	return index || access("/dev/nvidia0", R_OK | W_OK) ? none : 0;
}

result cuMemAlloc_v2(pointer *to, size_t bytes)
{
	void *p = bytes > room ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return full;
	room -= bytes;
	*to = (pointer)p;
	return 0;
}

/* The first page stands for all, so that a gigabyte of it costs nothing. */
result cuMemsetD32_v2(pointer to, unsigned word, size_t words)
{
	for (size_t i = 0; i < words && i < 1024; i++)
		((unsigned *)to)[i] = word;
	return 0;
}

result cuMemcpyDtoH_v2(void *to, pointer from, size_t bytes)
{
	memcpy(to, (void *)from, bytes);
	return 0;
}

result cuMemGetInfo_v2(size_t *available, size_t *all)
{
	*available = *all = room;
	return 0;
}

result cuCtxSynchronize(void)
{
	while (spins)
		pause();
	return 0;
}

result cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
	unsigned shared, void *stream, void **arguments, void **extra)
{
	(void)gx, (void)gy, (void)gz, (void)bx, (void)by, (void)bz, (void)shared, (void)stream, (void)extra;
	if (!strcmp(function, "spin")) {
		spins = 1;
	} else {
		pointer last = *(pointer *)arguments[1];
		*(pointer *)*(pointer *)arguments[0] = last * (last + 1) / 2;
	}
	return 0;
}

/* A kernel is its name. */
result cuModuleLoadData(void **to, const char *text) { return *to = (void *)text, 0; }
result cuModuleGetFunction(void **to, void *module, const char *name) { return (void)module, *to = (void *)name, 0; }
result cuCtxCreate_v2(void **to, unsigned flags, int device) { return (void)flags, (void)device, *to = &room, 0; }
result cuCtxDestroy_v2(void *context) { return (void)context, 0; }
result cuGetErrorString(result r, const char **to) { return *to = r == full ? "out of memory" : "no device", 0; }

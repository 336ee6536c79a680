/*
 * What libnvidia-ml tells of a machine with one GPU, as much of it as hermesd asks for. A process that has
 * the libcuda of the same driver mapped computes on the GPU.
 */
#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "nvml.h"

#define UUID "GPU-5c7162fd-0000-4000-8000-000000000001"
#define OF_EACH (600ull << 20) /* bytes of each process, and of the driver itself */

enum { most = 64 };

static int maps_cuda(const char *pid)
{
	char path[300], line[512];
	int found = 0;
	FILE *f;
	snprintf(path, sizeof path, "/proc/%s/maps", pid);
	if (!(f = fopen(path, "r")))
		return 0;
	while (!found && fgets(line, sizeof line, f))
		found = strstr(line, "/libcuda.so") != NULL;
	fclose(f);
	return found;
}

static int computing(unsigned pids[most])
{
	struct dirent *e;
	int n = 0;
	DIR *d = opendir("/proc");
	while (d && n < most && (e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]) && maps_cuda(e->d_name))
			pids[n++] = atoi(e->d_name);
	if (d)
		closedir(d);
	return n;
}

static int busy(void)
{
	unsigned pids[most];
	return computing(pids);
}

/* A handle is a pointer in a struct of its own. */
static nvmlReturn_t only(void *handle)
{
	*(void **)handle = (void *)1;
	return NVML_SUCCESS;
}

static nvmlReturn_t text(char *to, unsigned size, const char *what)
{
	snprintf(to, size, "%s", what);
	return NVML_SUCCESS;
}

static nvmlReturn_t number(unsigned *to, unsigned what)
{
	*to = what;
	return NVML_SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t r) { return r == NVML_ERROR_NOT_FOUND ? "not found" : "an error"; }
nvmlReturn_t nvmlInit_v2(void) { return NVML_SUCCESS; }
nvmlReturn_t nvmlShutdown(void) { return NVML_SUCCESS; }
nvmlReturn_t nvmlSystemGetDriverVersion(char *to, unsigned size) { return text(to, size, "550.54.15"); }
nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *to) { return number((unsigned *)to, 12040); }
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *to) { return number(to, 1); }
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned i, nvmlDevice_t *to) { return i ? NVML_ERROR_INVALID_ARGUMENT : only(to); }
nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *to) { return strcmp(uuid, UUID) ? NVML_ERROR_NOT_FOUND : only(to); }
nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t d, char *to, unsigned size) { return (void)d, text(to, size, UUID); }
nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *to, unsigned size) { return (void)d, text(to, size, "NVIDIA NONE80"); }
nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t d, unsigned *to) { return (void)d, number(to, 0); }
nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t d, unsigned *to) { return (void)d, number(to, 0); }
nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t d, unsigned *to) { return (void)d, number(to, 0); }
nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t d, unsigned *to) { return (void)d, number(to, busy() ? 611600 : 75000); }
nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *to) { return only(to); }

nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t d, int *major, int *minor)
{
	(void)d;
	*major = 9, *minor = 0;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *to)
{
	(void)d;
	to->total = 80ull << 30;
	to->used = OF_EACH * (busy() + 1);
	to->free = to->total - to->used;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *to)
{
	(void)d;
	memset(to, 0, sizeof *to);
	return text(to->busId, sizeof to->busId, "00000000:3B:00.0");
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned *count, nvmlProcessInfo_t *to)
{
	unsigned pids[most];
	unsigned n = computing(pids), room = *count;
	(void)d;
	*count = n;
	if (n > room)
		return NVML_ERROR_INSUFFICIENT_SIZE;
	for (unsigned i = 0; i < n; i++) {
		memset(&to[i], 0, sizeof to[i]);
		to[i].pid = pids[i];
		to[i].usedGpuMemory = OF_EACH;
	}
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t d, unsigned *count, nvmlProcessInfo_t *to)
{
	return (void)d, (void)to, number(count, 0);
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t d, nvmlUtilization_t *to)
{
	(void)d;
	to->gpu = busy() ? 97 : 0;
	to->memory = 0;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t d, unsigned long long *to)
{
	struct timespec t;
	(void)d;
	clock_gettime(CLOCK_MONOTONIC, &t);
	*to = t.tv_sec * 100000ull + t.tv_nsec / 10000; /* 100 W since the machine was started */
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t d, nvmlMemoryErrorType_t what, nvmlEccCounterType_t when, unsigned long long *to)
{
	(void)d, (void)what, (void)when;
	*to = 0;
	return NVML_SUCCESS;
}

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t d, unsigned long long types, nvmlEventSet_t set)
{
	return (void)d, (void)types, (void)set, NVML_SUCCESS;
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *to, unsigned millis)
{
	(void)set, (void)to;
	usleep(millis * 1000);
	return NVML_ERROR_TIMEOUT;
}

/*
 * Uses a GPU through the driver alone (libcuda, loaded at run time), so that it needs no toolkit, to
 * be built or to run. It reads one line from stdin:
 *
 *   start         makes a context, and says how many microseconds that took
 *   fill MIB      fills that much of the memory with a pattern, and ends
 *   look          takes as much memory as there is, and counts words of the pattern in it
 *   spin          starts a kernel that never ends
 *   sum N         adds 1 + 2 + … + N on the GPU, and prints the sum
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int result;
typedef unsigned long long pointer;

static result (*init)(unsigned), (*get_device)(int *, int), (*make)(void **, unsigned, int), (*end)(void *);
static result (*take)(pointer *, size_t), (*set)(pointer, unsigned, size_t), (*fetch)(void *, pointer, size_t);
static result (*load)(void **, const char *), (*find)(void **, void *, const char *), (*wait)(void), (*available)(size_t *, size_t *);
static result (*launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);
static result (*says)(result, const char **);

static const unsigned pattern = 0xC0FFEE42u;

/* spin ends when a word is set, which nobody sets; sum adds a number of each thread to a word. */
static const char kernels[] =
	".version 6.0\n.target sm_50\n.address_size 64\n"
	".visible .entry spin(.param .u64 flag)\n{\n"
	"\t.reg .u64 %p;\n\t.reg .u32 %v;\n\t.reg .pred %q;\n"
	"\tld.param.u64 %p, [flag];\n\tcvta.to.global.u64 %p, %p;\n"
	"again:\n\tld.volatile.global.u32 %v, [%p];\n\tsetp.eq.u32 %q, %v, 0;\n\t@%q bra again;\n\tret;\n}\n"
	".visible .entry sum(.param .u64 total, .param .u64 last)\n{\n"
	"\t.reg .u64 %p, %n, %i, %s, %old;\n\t.reg .u32 %t, %b, %d, %g;\n\t.reg .pred %q;\n"
	"\tld.param.u64 %p, [total];\n\tcvta.to.global.u64 %p, %p;\n\tld.param.u64 %n, [last];\n"
	"\tmov.u32 %t, %tid.x;\n\tmov.u32 %b, %ctaid.x;\n\tmov.u32 %d, %ntid.x;\n\tmad.lo.u32 %t, %b, %d, %t;\n"
	"\tmov.u32 %g, %nctaid.x;\n\tmul.lo.u32 %g, %g, %d;\n\tcvt.u64.u32 %i, %t;\n\tadd.u64 %i, %i, 1;\n\tmov.u64 %s, 0;\n"
	"next:\n\tsetp.gt.u64 %q, %i, %n;\n\t@%q bra done;\n\tadd.u64 %s, %s, %i;\n\tcvt.u64.u32 %old, %g;\n\tadd.u64 %i, %i, %old;\n\tbra next;\n"
	"done:\n\tatom.global.add.u64 %old, [%p], %s;\n\tret;\n}\n";

static void check(const char *what, result r)
{
	const char *why = NULL;
	if (r == 0)
		return;
	if (says)
		says(r, &why);
	fprintf(stderr, "%s: %s (%d)\n", what, why ? why : "failed", r);
	exit(1);
}

static void *symbol(void *lib, const char *name)
{
	void *at = dlsym(lib, name);
	if (!at) {
		fprintf(stderr, "the driver has no %s\n", name);
		exit(3);
	}
	return at;
}

static void open_driver(void)
{
	void *lib = dlopen("libcuda.so.1", RTLD_NOW);
	if (!lib) {
		fprintf(stderr, "no NVIDIA driver here: %s\n", dlerror());
		exit(3);
	}
	init = symbol(lib, "cuInit");
	get_device = symbol(lib, "cuDeviceGet");
	make = symbol(lib, "cuCtxCreate_v2");
	end = symbol(lib, "cuCtxDestroy_v2");
	take = symbol(lib, "cuMemAlloc_v2");
	set = symbol(lib, "cuMemsetD32_v2");
	fetch = symbol(lib, "cuMemcpyDtoH_v2");
	load = symbol(lib, "cuModuleLoadData");
	find = symbol(lib, "cuModuleGetFunction");
	wait = symbol(lib, "cuCtxSynchronize");
	available = symbol(lib, "cuMemGetInfo_v2");
	launch = symbol(lib, "cuLaunchKernel");
	says = symbol(lib, "cuGetErrorString");
}

static long long micros(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void fill(size_t mib)
{
	pointer p;
	check("allocate", take(&p, mib << 20));
	check("fill", set(p, pattern, (mib << 20) / 4));
	check("wait", wait());
	printf("filled %zu MiB\n", mib);
}

/* Takes memory in pieces, as one of all that is there may not be had. */
static void look(void)
{
	size_t room = 0, all = 0, piece = 256u << 20, looked = 0;
	unsigned *text = malloc(piece);
	unsigned long long found = 0;
	check("ask for room", available(&room, &all));
	for (pointer p; text && piece >= 1u << 20;) {
		if (take(&p, piece) != 0) {
			piece /= 2;
			continue;
		}
		check("copy", fetch(text, p, piece));
		for (size_t i = 0; i < piece / 4; i++)
			found += text[i] == pattern;
		looked += piece;
	}
	printf("looked at %zu of %zu MiB, found %llu words\n", looked >> 20, all >> 20, found);
}

static void *kernel(const char *name)
{
	void *module, *function;
	check("load the kernels", load(&module, kernels));
	check("find the kernel", find(&function, module, name));
	return function;
}

static pointer zeroed(void)
{
	pointer p;
	check("allocate", take(&p, 8));
	check("clear", set(p, 0, 2));
	return p;
}

static void spin(void)
{
	pointer flag = zeroed();
	void *args[] = {&flag};
	check("launch", launch(kernel("spin"), 1, 1, 1, 1, 1, 1, 0, NULL, args, NULL));
	puts("spinning");
	fflush(stdout);
	check("wait", wait());
}

static void sum(unsigned long long last)
{
	pointer total = zeroed();
	unsigned long long got = 0;
	void *args[] = {&total, &last};
	check("launch", launch(kernel("sum"), 64, 1, 1, 256, 1, 1, 0, NULL, args, NULL));
	check("copy", fetch(&got, total, sizeof got));
	printf("%llu\n", got);
}

int main(void)
{
	char what[16] = "";
	unsigned long long number = 0;
	int device;
	void *context;
	long long began = micros();

	if (scanf("%15s %llu", what, &number) < 1)
		return 2;
	open_driver();
	check("start", init(0));
	check("find the GPU", get_device(&device, 0));
	check("make a context", make(&context, 0, device));
	if (!strcmp(what, "start"))
		printf("%lld\n", micros() - began);
	else if (!strcmp(what, "fill"))
		fill(number);
	else if (!strcmp(what, "look"))
		look();
	else if (!strcmp(what, "spin"))
		spin();
	else if (!strcmp(what, "sum"))
		sum(number);
	else
		return 2;
	check("end", end(context));
	return 0;
}

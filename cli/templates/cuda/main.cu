// A Hermes function reads its input on stdin. What it prints on stdout and stderr is shown as it
// is printed, and kept; its exit code is the exit code of `hermes function run`.
#include <cstdio>

static bool ok(cudaError_t err) {
    if (err != cudaSuccess) {
        std::fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(err));
    }
    return err == cudaSuccess;
}

__global__ void hello() { std::printf("hello from thread %d\n", threadIdx.x); }

int main() {
    cudaDeviceProp device;
    if (!ok(cudaGetDeviceProperties(&device, 0))) {
        return 1;
    }
    std::printf("%s\n", device.name);
    std::fflush(stdout);
    hello<<<1, 4>>>();
    return ok(cudaGetLastError()) && ok(cudaDeviceSynchronize()) ? 0 : 1;
}

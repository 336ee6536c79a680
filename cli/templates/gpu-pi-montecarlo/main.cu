// Estimates pi on the GPU: of n random points in a square, the share inside the circle is pi/4.
#include <cstdio>

static const int blocks = 256, threads = 256;

static bool ok(cudaError_t err) {
    if (err != cudaSuccess) {
        std::fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(err));
    }
    return err == cudaSuccess;
}

// SplitMix64: a random number generator of one word of state.
__device__ unsigned long long next(unsigned long long &state) {
    unsigned long long z = (state += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

__device__ double unit(unsigned long long &state) { return (next(state) >> 11) * 0x1.0p-53; }

__global__ void count(unsigned long long points, unsigned long long *hits) {
    const unsigned long long stride = static_cast<unsigned long long>(gridDim.x) * blockDim.x;
    const unsigned long long me = static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    unsigned long long state = (me + 1) * 0xD1342543DE82EF95ull, mine = 0;
    for (unsigned long long i = me; i < points; i += stride) {
        const double x = unit(state), y = unit(state);
        mine += x * x + y * y <= 1;
    }
    atomicAdd(hits, mine);
}

int main() {
    unsigned long long points = 0, inside = 0, *hits = nullptr;
    if (std::scanf("%llu", &points) != 1 || points == 0) {
        std::fprintf(stderr, "the input must be a number of points, at least 1\n");
        return 2;
    }
    if (!ok(cudaMalloc(&hits, sizeof *hits)) || !ok(cudaMemset(hits, 0, sizeof *hits))) {
        return 1;
    }
    count<<<blocks, threads>>>(points, hits);
    if (!ok(cudaGetLastError()) || !ok(cudaMemcpy(&inside, hits, sizeof inside, cudaMemcpyDeviceToHost)) || !ok(cudaFree(hits))) {
        return 1;
    }
    std::printf("%.10g\n", 4.0 * static_cast<double>(inside) / static_cast<double>(points));
    return 0;
}

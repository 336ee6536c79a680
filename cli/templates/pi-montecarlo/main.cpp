// Estimates pi: of n random points in a square, the share inside the circle is pi/4.
#include <algorithm>
#include <cstdint>
#include <iomanip>
#include <iostream>
#include <random>
#include <thread>
#include <vector>

static std::uint64_t inside(std::uint64_t points, unsigned seed) {
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> coordinate(-1, 1);
    std::uint64_t hits = 0;
    for (std::uint64_t i = 0; i < points; i++) {
        const double x = coordinate(random), y = coordinate(random);
        hits += x * x + y * y <= 1;
    }
    return hits;
}

int main() {
    std::uint64_t points = 0;
    if (!(std::cin >> points) || points == 0) {
        std::cerr << "the input must be a number of points, at least 1\n";
        return 2;
    }
    const unsigned workers = std::max(1u, std::thread::hardware_concurrency());
    std::vector<std::uint64_t> hits(workers);
    std::vector<std::thread> threads;
    for (unsigned w = 0; w < workers; w++) {
        const std::uint64_t share = points / workers + (w < points % workers);
        threads.emplace_back([&hits, w, share] { hits[w] = inside(share, w + 1); });
    }
    for (auto &thread : threads) {
        thread.join();
    }
    std::uint64_t all = 0;
    for (const auto h : hits) {
        all += h;
    }
    std::cout << std::setprecision(10) << 4.0 * static_cast<double>(all) / static_cast<double>(points) << '\n';
    return 0;
}

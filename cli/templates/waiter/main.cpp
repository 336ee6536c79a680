// Prints a line every i seconds for t seconds: shows that output arrives as it is printed.
#include <chrono>
#include <iostream>
#include <thread>

int main() {
    double interval = 0, total = 0;
    if (!(std::cin >> interval >> total) || interval <= 0 || total < 0) {
        std::cerr << "the input must be two numbers: seconds between lines, seconds in all\n";
        return 2;
    }
    using clock = std::chrono::steady_clock;
    const auto start = clock::now();
    for (int i = 1; i * interval <= total; i++) {
        std::this_thread::sleep_until(start + std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(i * interval)));
        std::cout << i * interval << " s of " << total << " s" << std::endl;
    }
    return 0;
}

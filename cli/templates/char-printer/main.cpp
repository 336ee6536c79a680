// Prints a character n times: shows how much output gets through.
#include <algorithm>
#include <cstdint>
#include <iostream>
#include <string>

int main() {
    char character = 0;
    std::uint64_t count = 0;
    if (!(std::cin >> character >> count)) {
        std::cerr << "the input must be a character and a number\n";
        return 2;
    }
    const std::string block(64 * 1024, character);
    while (count > 0) {
        const auto part = std::min<std::uint64_t>(count, block.size());
        if (!std::cout.write(block.data(), static_cast<std::streamsize>(part))) {
            return 1;
        }
        count -= part;
    }
    return 0;
}

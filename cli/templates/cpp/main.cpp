// A Hermes function reads its input on stdin. What it prints on stdout and stderr is shown as it
// is printed, and kept; its exit code is the exit code of `hermes function run`.
#include <iostream>
#include <string>

int main() {
    std::string line;
    while (std::getline(std::cin, line)) {
        std::cout << line << '\n';
    }
    return 0;
}

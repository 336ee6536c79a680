// Sums the numbers of its input.
#include <iomanip>
#include <iostream>

int main() {
    long double sum = 0, number = 0;
    while (std::cin >> number) {
        sum += number;
    }
    if (!std::cin.eof()) {
        std::cerr << "the input holds something that is not a number\n";
        return 2;
    }
    std::cout << std::setprecision(18) << sum << '\n';
    return 0;
}

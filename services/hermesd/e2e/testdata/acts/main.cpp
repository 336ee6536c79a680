// A function that does what its input says: the first line is a verb and its numbers. What it
// prints is repeated in acts_test.go, so that the tests know every byte beforehand.
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

static void say(const char *text) {
    std::fputs(text, stdout);
    std::fflush(stdout);
}

static void wait(long millis) { std::this_thread::sleep_for(std::chrono::milliseconds(millis)); }

static void print(long bytes, std::uint64_t state) {
    for (long i = 0; i < bytes; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        std::putchar(i % 80 == 79 ? '\n' : static_cast<char>('a' + (state >> 33) % 26));
    }
}

static void both(long lines) {
    for (long i = 1; i <= lines; i++) {
        std::printf("out %ld\n", i);
        std::fflush(stdout);
        std::fprintf(stderr, "err %ld\n", i);
    }
}

static void drip(long lines, long millis) {
    for (long i = 1; i <= lines; i++) {
        std::printf("drop %ld\n", i);
        std::fflush(stdout);
        wait(millis);
    }
}

static void eat(long mebibytes) {
    for (long i = 0; i < mebibytes; i++) {
        char *block = static_cast<char *>(std::malloc(1 << 20));
        std::memset(block, 1, 1 << 20);
        __asm__ volatile("" : : "r"(block) : "memory"); // or the compiler leaves it all out
    }
}

static void sum() {
    std::uint64_t count = 0, hash = 14695981039346656037ull;
    for (int c; (c = std::getchar()) != EOF; count++) {
        hash = (hash ^ static_cast<std::uint64_t>(c)) * 1099511628211ull;
    }
    std::printf("%llu %016llx\n", static_cast<unsigned long long>(count), static_cast<unsigned long long>(hash));
}

static void heeded(int) {
    static const char text[] = "heeded\n";
    ssize_t written = write(STDOUT_FILENO, text, sizeof text - 1);
    _exit(written > 0 ? 7 : 8);
}

int main() {
    char line[256], verb[64] = "";
    long a = 0, b = 0;
    if (!std::fgets(line, sizeof line, stdin) || std::sscanf(line, "%63s %ld %ld", verb, &a, &b) < 1) {
        std::fputs("no verb\n", stderr);
        return 2;
    }
    const std::string act = verb;
    if (act == "exit") {
        say("exiting\n");
        return static_cast<int>(a);
    } else if (act == "nice") {
        std::printf("nice %d\n", getpriority(PRIO_PROCESS, 0));
    } else if (act == "abort") {
        say("aborting\n");
        std::abort();
    } else if (act == "crash") {
        say("crashing\n");
        std::raise(SIGSEGV);
    } else if (act == "print") {
        print(a, static_cast<std::uint64_t>(b));
    } else if (act == "both") {
        both(a);
    } else if (act == "drip") {
        drip(a, b);
    } else if (act == "sleep") {
        say("begun\n");
        wait(a);
        say("done\n");
    } else if (act == "heed" || act == "ignore") {
        // What is said first is seen first, also when the signal comes at once.
        sigset_t term;
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        sigprocmask(SIG_BLOCK, &term, nullptr);
        std::signal(SIGTERM, act == "heed" ? heeded : SIG_IGN);
        say("begun\n");
        sigprocmask(SIG_UNBLOCK, &term, nullptr);
        for (;;) {
            wait(1000);
        }
    } else if (act == "eat") {
        eat(a);
        say("ate\n");
    } else if (act == "sum") {
        sum();
    } else {
        std::fprintf(stderr, "no act %s\n", verb);
        return 2;
    }
    return 0;
}

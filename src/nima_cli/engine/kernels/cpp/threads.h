// Work shared by threads: those of the OpenMP runtime that torch has loaded.
//
// Threads of a runtime wait for their next work in a busy loop, so two runtimes in one process take the cores from each
// other. That is why OpenMP's functions are only declared here, and the program is linked with none: when it is loaded,
// they are found in whatever library torch brought, and where there is none, loading fails.

#pragma once

#include <atomic>
#include <cstdint>

extern "C" {
void GOMP_parallel(void (*body)(void *), void *given, unsigned threads, unsigned flags);
int omp_get_thread_num();
int omp_get_num_threads();
}

template <typename Body>
struct Shared {
    std::int64_t items;
    const Body &body;

    static void run(void *given) {
        const auto &self = *static_cast<const Shared *>(given);
        const std::int64_t threads = omp_get_num_threads(), own = omp_get_thread_num();
        self.body(self.items * own / threads, self.items * (own + 1) / threads);
    }
};

// Calls `body(first, end)` in each thread for its part of `items`. What `body` does with an item must not depend on who
// else has which: then the result is the same for any number of threads.
template <typename Body>
void share(std::int64_t items, int threads, const Body &body) {
    Shared<Body> shared{items, body};
    if (threads > 1 && items > 1)
        GOMP_parallel(Shared<Body>::run, &shared, static_cast<unsigned>(threads), 0);
    else
        body(0, items);
}

// The same with an item to whichever thread is free, for items that take long: threads whose core also has something
// else to do take fewer. `start()` makes what a thread works with, and `body(space, item)` does an item.
template <typename Start, typename Body>
void share_by_turns(std::int64_t items, int threads, const Start &start, const Body &body) {
    std::atomic<std::int64_t> next{0};
    share(threads, threads, [&](std::int64_t first, std::int64_t end) {
        if (first == end) return;
        auto space = start();
        for (std::int64_t item = next++; item < items; item = next++) body(space, item);
    });
}

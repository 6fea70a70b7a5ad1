// What is computed for each number alone: the gate of the MLP, and dropout.

#include "threads.h"
#include "vectors.h"

namespace {

constexpr std::int64_t PIECE = 4096;  // numbers; where threads part must not depend on how many there are

// Calls `body(at, count)` for vectors of `size` numbers, which threads share.
template <typename Body>
void share_numbers(std::int64_t size, int threads, const Body &body) {
    const std::int64_t pieces = (size + PIECE - 1) / PIECE;
    share(pieces, threads, [&](std::int64_t first, std::int64_t end) {
        const std::int64_t begin = first * PIECE, stop = end * PIECE < size ? end * PIECE : size;
        across(stop - begin, [&](std::int64_t at, int count) { body(begin + at, count); });
    });
}

Floats sigmoid(const Floats &x) { return 1.0f / (1.0f + exponential(-x)); }

}  // namespace

extern "C" {

// y = silu(gate) up
void nima_swiglu(int kind, const void *gate, const void *up, std::int64_t size, void *y, int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        const auto *gates = static_cast<const Number *>(gate), *ups = static_cast<const Number *>(up);
        auto *to = static_cast<Number *>(y);
        share_numbers(size, threads, [&](std::int64_t at, int count) {
            const Floats g = load(gates + at, count);
            store(to + at, g * sigmoid(g) * load(ups + at, count), count);
        });
    });
}

void nima_swiglu_gradient(
    int kind, const void *gate, const void *up, const void *grad_y, std::int64_t size, void *grad_gate, void *grad_up,
    int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        const auto *gates = static_cast<const Number *>(gate), *ups = static_cast<const Number *>(up);
        const auto *grads = static_cast<const Number *>(grad_y);
        auto *to_gate = static_cast<Number *>(grad_gate), *to_up = static_cast<Number *>(grad_up);
        share_numbers(size, threads, [&](std::int64_t at, int count) {
            const Floats g = load(gates + at, count), u = load(ups + at, count), grad = load(grads + at, count);
            const Floats s = sigmoid(g);
            store(to_gate + at, grad * u * s * (1.0f + g * (1.0f - s)), count);
            store(to_up + at, grad * g * s, count);
        });
    });
}

// y = x * factor where `keep` says so, else zero
void nima_drop(
    int kind, const void *x, const std::uint8_t *keep, float factor, std::int64_t size, void *y, int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        share_numbers(size, threads, [&](std::int64_t at, int count) {
            typedef std::uint8_t Bytes __attribute__((vector_size(LANES)));
            Bytes kept = {};
            std::memcpy(&kept, keep + at, count);
            const Floats factors = __builtin_convertvector(__builtin_convertvector(kept, Words), Floats) * factor;
            store(static_cast<Number *>(y) + at, load(static_cast<const Number *>(x) + at, count) * factors, count);
        });
    });
}

}

// What is computed for each number alone: the gate of the MLP, dropout, and sums in place.

#include "packing.h"
#include "quantize.h"

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

template <typename Number>
void swiglu(const Number *gate, std::int64_t width, Number *y) {
    const Number *up = gate + width;
    across(width, [&](std::int64_t at, int count) {
        __builtin_prefetch(gate + 2 * width + at);  // of the next row: each may be in a page of its own, and that is
        __builtin_prefetch(up + 2 * width + at);    // where processors cease to foresee
        const Floats g = load(gate + at, count);
        store(y + at, g * sigmoid(g) * load(up + at, count), count);
    });
}

template <typename Number, typename Grad>
void swiglu_gradient(const Number *gate, const Number *grad_y, std::int64_t width, Grad *grad_gate) {
    const Number *up = gate + width;
    Grad *grad_up = grad_gate + width;
    across(width, [&](std::int64_t at, int count) {
        __builtin_prefetch(gate + 2 * width + at);
        __builtin_prefetch(up + 2 * width + at);
        __builtin_prefetch(grad_y + width + at);
        const Floats g = load(gate + at, count), grad = load(grad_y + at, count), s = sigmoid(g);
        store(grad_gate + at, grad * load(up + at, count) * s * (1.0f + g * (1.0f - s)), count);
        store(grad_up + at, grad * g * s, count);
    });
}

}  // namespace

extern "C" {

// `y` `[rows, width]` = silu(gate) up, which lie beside each other in the rows of `x`.
void nima_swiglu(int kind, const void *x, std::int64_t rows, std::int64_t width, void *y, int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        share(rows, threads, [&](std::int64_t first, std::int64_t end) {
            for (std::int64_t row = first; row < end; ++row)
                swiglu(
                    static_cast<const Number *>(x) + 2 * row * width, width, static_cast<Number *>(y) + row * width);
        });
    });
}

void nima_swiglu_gradient(
    int kind, const void *x, const void *grad_y, std::int64_t rows, std::int64_t width, void *grad_x, int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        share(rows, threads, [&](std::int64_t first, std::int64_t end) {
            for (std::int64_t row = first; row < end; ++row)
                swiglu_gradient(
                    static_cast<const Number *>(x) + 2 * row * width, static_cast<const Number *>(grad_y) + row * width,
                    width, static_cast<Number *>(grad_x) + 2 * row * width);
        });
    });
}

// `nima_swiglu` with layouts of its result as 8-bit integers, and a scale for each row.
void nima_swiglu_quantized(
    int kind, const void *x, std::int64_t rows, std::int64_t width, void *y, const Layouts *layouts, float *scales,
    int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        pack(rows, width, *layouts, threads, [&] {
            return [&](std::int64_t row, std::int8_t *q) {
                Number *to = static_cast<Number *>(y) + row * width;
                swiglu(static_cast<const Number *>(x) + 2 * row * width, width, to);
                scales[row] = quantize_row(to, width, q);
            };
        });
    });
}

// `nima_swiglu_gradient` whose result is only needed as 8-bit integers.
void nima_swiglu_gradient_quantized(
    int kind, const void *x, const void *grad_y, std::int64_t rows, std::int64_t width, const Layouts *layouts,
    float *scales, int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        pack(rows, 2 * width, *layouts, threads, [&] {
            return [&, grad = std::vector<float>(2 * width)](std::int64_t row, std::int8_t *q) mutable {
                swiglu_gradient(
                    static_cast<const Number *>(x) + 2 * row * width, static_cast<const Number *>(grad_y) + row * width,
                    width, grad.data());
                scales[row] = quantize_row(grad.data(), 2 * width, q);
            };
        });
    });
}

// total += part, `columns` numbers of each row; `stride` is from one row of `total` to the next.
void nima_accumulate(
    int kind, float *total, std::int64_t stride, const void *part, std::int64_t rows, std::int64_t columns,
    int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        share(rows, threads, [&](std::int64_t first, std::int64_t end) {
            for (std::int64_t row = first; row < end; ++row) {
                float *to = total + row * stride;
                const Number *from = static_cast<const Number *>(part) + row * columns;
                across(columns, [&](std::int64_t at, int count) {
                    store(to + at, load(to + at, count) + load(from + at, count), count);
                });
            }
        });
    });
}

// y = x * factor where `keep` says so, else zero
void nima_drop(
    int kind, const void *x, const std::uint8_t *keep, float factor, std::int64_t size, void *y, int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        share_numbers(size, threads, [&](std::int64_t at, int count) {
            Octets kept = {};
            std::memcpy(&kept, keep + at, count);
            const Floats factors = __builtin_convertvector(__builtin_convertvector(kept, Words), Floats) * factor;
            store(static_cast<Number *>(y) + at, load(static_cast<const Number *>(x) + at, count) * factors, count);
        });
    });
}

}

// Division by the root mean square, alone with the residual sum before it, and with the rotation of heads after it.

#include <vector>

#include "norm.h"
#include "sizes.h"
#include "threads.h"

namespace {

constexpr std::int64_t TOGETHER = 64;  // rows whose gradients for a gain are added up before those of others

template <typename Number>
float inverse_root_mean_square(const Number *x, std::int64_t width, float epsilon) {
    Floats squares = {};
    across(width, [&](std::int64_t at, int count) {
        const Floats numbers = load(x + at, count);
        squares += numbers * numbers;
    });
    return inverse_root(sum(squares), width, epsilon);
}

template <typename From, typename To>
void normalise(const From *x, const float *gain, std::int64_t width, float epsilon, To *y) {
    scale_by_gain(x, inverse_root_mean_square(x, width, epsilon), gain, width, y);
}

// The gradient of x from that of y, plus `more` where there is any; adds that of the gain to `grad_gain`.
template <typename Number, typename Grad>
void normalise_gradient(
    const Number *x, const float *gain, const Grad *grad_y, const Number *more, std::int64_t width, float epsilon,
    Number *grad_x, float *grad_gain) {
    const float inverse = inverse_root_mean_square(x, width, epsilon);
    Floats parts = {};
    across(width, [&](std::int64_t at, int count) {
        const Floats weighted = load(grad_y + at, count) * load(x + at, count);
        parts += weighted * load(gain + at, count);
        store(grad_gain + at, load(grad_gain + at, count) + weighted * inverse, count);
    });
    const float pull = sum(parts) * inverse * inverse / static_cast<float>(width);
    across(width, [&](std::int64_t at, int count) {
        Floats grad = inverse * (load(grad_y + at, count) * load(gain + at, count) - load(x + at, count) * pull);
        if (more) grad += load(more + at, count);
        store(grad_x + at, grad, count);
    });
}

// Calls `body(row, grad_gain)` for each row. Each block of rows has a sum of its own and the sums are added up in the
// order of the blocks, so that threads change nothing.
template <typename Body>
void share_rows(std::int64_t rows, std::int64_t width, int threads, float *grad_gain, const Body &body) {
    const std::int64_t blocks = (rows + TOGETHER - 1) / TOGETHER;
    std::vector<float> sums(blocks * width);
    share(blocks, threads, [&](std::int64_t first, std::int64_t end) {
        for (std::int64_t block = first; block < end; ++block)
            for (std::int64_t row = block * TOGETHER; row < rows && row < (block + 1) * TOGETHER; ++row)
                body(row, sums.data() + block * width);
    });
    if (!grad_gain) return;
    std::memset(grad_gain, 0, width * sizeof(float));
    for (std::int64_t block = 0; block < blocks; ++block)
        for (std::int64_t at = 0; at < width; ++at) grad_gain[at] += sums[block * width + at];
}

template <typename From, typename To>
void copy(const From *from, std::int64_t width, To *to) {
    across(width, [&](std::int64_t at, int count) { store(to + at, load(from + at, count), count); });
}

}  // namespace

extern "C" {

// Heads `[batch, time, heads, width]` beside each other and `[batch, heads, time, width]` one after the other.
struct Heads {
    std::int64_t batch, time, heads, width;
    std::int64_t stride;           // from one position to the next where heads are beside each other
    const float *gain;             // [width], or null: not normalised
    const float *cosines, *sines;  // [time, width / 2], or null: not rotated
    float epsilon, factor;         // the factor is for what is rotated
};

}

namespace {

// Where the first head of position `row = b * time + t` lies among those that follow one another; the next ones are
// `time * width` apart.
std::int64_t first_head(const Heads &h, std::int64_t row) {
    return (row / h.time * h.heads * h.time + row % h.time) * h.width;
}

bool is_only_moved(const Heads &h) { return !h.gain && !h.cosines; }

template <typename Number>
void split_head(const Heads &h, const Number *x, std::int64_t time, float *space, Number *y) {
    if (is_only_moved(h)) {
        std::memcpy(y, x, h.width * sizeof(Number));
        return;
    }
    if (h.gain)
        normalise(x, h.gain, h.width, h.epsilon, space);
    else
        copy(x, h.width, space);
    const std::int64_t half = h.width / 2;
    if (h.cosines) apply_rope(space, h.cosines + time * half, h.sines + time * half, half, 1.0f, h.factor);
    copy(space, h.width, y);
}

template <typename Number>
void split_head_gradient(
    const Heads &h, const Number *x, const Number *grad_y, std::int64_t time, float *space, Number *grad_x,
    float *grad_gain) {
    if (is_only_moved(h)) {
        std::memcpy(grad_x, grad_y, h.width * sizeof(Number));
        return;
    }
    copy(grad_y, h.width, space);
    const std::int64_t half = h.width / 2;
    if (h.cosines) apply_rope(space, h.cosines + time * half, h.sines + time * half, half, -1.0f, h.factor);
    if (h.gain)
        normalise_gradient(
            x, h.gain, space, static_cast<const Number *>(nullptr), h.width, h.epsilon, grad_x, grad_gain);
    else
        copy(space, h.width, grad_x);
}

}  // namespace

extern "C" {

// `total` = x + branch, where there is a branch, and `normed` = total divided by its root mean square, times the gain.
void nima_add_norm(
    int kind, const void *x, const void *branch, const float *gain, std::int64_t rows, std::int64_t width,
    float epsilon, void *total, void *normed, int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        share(rows, threads, [&](std::int64_t first, std::int64_t end) {
            for (std::int64_t row = first * width; row < end * width; row += width) {
                const Number *from = static_cast<const Number *>(x) + row;
                if (branch) {
                    const Number *other = static_cast<const Number *>(branch) + row;
                    Number *to = static_cast<Number *>(total) + row;
                    across(width, [&](std::int64_t at, int count) {
                        store(to + at, load(from + at, count) + load(other + at, count), count);
                    });
                    from = to;
                }
                normalise(from, gain, width, epsilon, static_cast<Number *>(normed) + row);
            }
        });
    });
}

// From the gradients of `normed` and of `total`, which may be null, that of both x and branch, and the gain's.
void nima_add_norm_gradient(
    int kind, const void *total, const float *gain, const void *grad_normed, const void *grad_total, std::int64_t rows,
    std::int64_t width, float epsilon, void *grad_x, float *grad_gain, int threads) {
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        share_rows(rows, width, threads, grad_gain, [&](std::int64_t row, float *sums) {
            const std::int64_t at = row * width;
            normalise_gradient(
                static_cast<const Number *>(total) + at, gain, static_cast<const Number *>(grad_normed) + at,
                grad_total ? static_cast<const Number *>(grad_total) + at : nullptr, width, epsilon,
                static_cast<Number *>(grad_x) + at, sums);
        });
    });
}

void nima_split_heads(int kind, const Heads *heads, const void *x, void *y, int threads) {
    const Heads &h = *heads;
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        share(h.batch * h.time, threads, [&](std::int64_t first, std::int64_t end) {
            std::vector<float> space(h.width);
            for (std::int64_t row = first; row < end; ++row) {
                const auto *from = static_cast<const Number *>(x) + row * h.stride;
                auto *to = static_cast<Number *>(y) + first_head(h, row);
                const std::int64_t time = row % h.time;
                for (std::int64_t head = 0; head < h.heads; ++head, from += h.width, to += h.time * h.width)
                    split_head(h, from, time, space.data(), to);
            }
        });
    });
}

// `x` and `grad_gain` are needed only where heads are normalised; without them this joins heads again.
void nima_split_heads_gradient(
    int kind, const Heads *heads, const void *x, const void *grad_y, void *grad_x, float *grad_gain, int threads) {
    const Heads &h = *heads;
    with_kind(kind, [&](auto number) {
        using Number = decltype(number);
        share_rows(h.batch * h.time, h.width, threads, grad_gain, [&](std::int64_t row, float *sums) {
            thread_local std::vector<float> space;
            space.resize(h.width);
            const auto *from = static_cast<const Number *>(grad_y) + first_head(h, row);
            const std::int64_t time = row % h.time;
            for (std::int64_t head = 0; head < h.heads; ++head, from += h.time * h.width) {
                const std::int64_t at = row * h.stride + head * h.width;
                const Number *given = x ? static_cast<const Number *>(x) + at : nullptr;
                split_head_gradient(h, given, from, time, space.data(), static_cast<Number *>(grad_x) + at, sums);
            }
        });
    });
}

}

NIMA_SIZE(Heads)

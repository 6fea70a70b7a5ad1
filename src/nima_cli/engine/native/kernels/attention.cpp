// Causal attention in bfloat16, a head at a time, whose scores never leave the processor's caches.
//
// FlashAttention (2205.14135) by blocks of queries. What a query pays to each key is kept for the gradient, which is less
// work than to compute it again: packed, for each block of queries the powers of e of the keys that it may see, and one
// over the sum of each query's, which makes probabilities of them.

#include <vector>

#include "pairs.h"
#include "rows.h"
#include "threads.h"

extern "C" {

struct Attention {
    std::int64_t batch, heads, kv_heads, time, width;
};

}

namespace {

constexpr std::int64_t BLOCK = 32;  // queries: a multiple of a tile's rows and columns

// Room for one head, in rows that are filled up with zeros to whole tiles.
struct Space {
    std::int64_t time, width;
    std::vector<BFloat16> block;                                          // rows of a block of queries
    std::vector<std::uint32_t> block_pairs;                               // pairs of these rows
    std::vector<std::uint32_t> transposed, paired;                        // of keys or values
    std::vector<std::uint32_t> score_pairs;                               // of a block's rows
    std::vector<BFloat16> score_rows;                                     // of a block
    std::vector<float> scores, result, grad_keys, grad_values;

    explicit Space(const Attention &a)
        : time(up_to_multiple(a.time, BLOCK)), width(up_to_multiple(a.width, TILE_COLUMNS)), block(BLOCK * width),
          block_pairs(BLOCK / 2 * width), transposed(time * width / 2), paired(time / 2 * width),
          score_pairs(BLOCK / 2 * time), score_rows(BLOCK * time), scores(BLOCK * time), result(BLOCK * width) {}
};

// The rows of a head, to read or to write.
template <typename Number>
struct Rows {
    Number *rows;
    std::int64_t stride, time, width;
};
using Head = Rows<const BFloat16>;
using Target = Rows<BFloat16>;

// A block of them, each times its factor, where there are any.
void take_block(
    const Head &head, std::int64_t start, std::int64_t width, BFloat16 *to, const float *factors = nullptr) {
    zero(to, BLOCK * width);
    for (std::int64_t row = 0; row < BLOCK && start + row < head.time; ++row) {
        const BFloat16 *from = head.rows + (start + row) * head.stride;
        if (factors)
            scale(from, factors[row], head.width, to + row * width);
        else
            std::memcpy(to + row * width, from, head.width * sizeof *to);
    }
}

// Pairs of rows of a block, `[BLOCK, width]`, in panels.
void pair_block(const BFloat16 *block, std::int64_t width, std::uint32_t *to, std::int64_t panel_stride) {
    for (std::int64_t row = 0; row < BLOCK; row += 2)
        pair_rows(
            block + row * width, block + (row + 1) * width, width, to + row / 2 * TILE_COLUMNS, panel_stride);
}

// Pairs of a head's columns, in a panel for each block of rows.
void transpose(const Head &head, Space &space) {
    for (std::int64_t start = 0; start < space.time; start += BLOCK) {
        take_block(head, start, space.width, space.block.data());
        for (std::int64_t pair = 0; pair < space.width / 2; ++pair) {
            std::uint32_t *to = space.transposed.data() + start * space.width / 2 + pair * TILE_COLUMNS;
            const BFloat16 *from = space.block.data() + 2 * pair;
            for (std::int64_t row = 0; row < BLOCK; ++row) std::memcpy(to + row, from + row * space.width, sizeof *to);
        }
    }
}

// Pairs of a head's rows.
void pair(const Head &head, Space &space) {
    for (std::int64_t start = 0; start < space.time; start += BLOCK) {
        take_block(head, start, space.width, space.block.data());
        pair_block(
            space.block.data(), space.width, space.paired.data() + start / 2 * TILE_COLUMNS,
            space.time / 2 * TILE_COLUMNS);
    }
}

auto rows_of(const BFloat16 *matrix, std::int64_t width) {
    return [=](std::int64_t row) {
        return Left{reinterpret_cast<const std::uint32_t *>(matrix + row * width), width / 2, 1};
    };
}

// What queries of the block, or the gradients of what came of them, have in products with all keys or values before.
void multiply_with_transposed(Space &space, std::int64_t seen) {
    multiply_pairs(
        rows_of(space.block.data(), space.width), {space.transposed.data(), BLOCK * space.width / 2}, space.width / 2, BLOCK, seen,
        false, space.scores.data(), seen);
}

// Rows of scores or powers times all keys or values before and times their factors, where there are any, into `to`.
void multiply_with_paired(
    Space &space, const BFloat16 *rows, std::int64_t seen, const Target &to, std::int64_t start,
    const float *factors = nullptr) {
    multiply_pairs(
        rows_of(rows, seen), {space.paired.data(), space.time / 2 * TILE_COLUMNS}, seen / 2, BLOCK, space.width, false,
        space.result.data(), space.width);
    for (std::int64_t row = 0; row < BLOCK && start + row < to.time; ++row)
        scale(
            space.result.data() + row * space.width, factors ? factors[row] : 1.0f, to.width,
            to.rows + (start + row) * to.stride);
}

// Adds the transposed product of a block's scores or powers with its rows.
void add_transposed(Space &space, const BFloat16 *scores, std::int64_t seen, std::vector<float> &to) {
    constexpr std::int64_t PANEL = BLOCK / 2 * TILE_COLUMNS;
    pair_block(scores, seen, space.score_pairs.data(), PANEL);
    pair_block(space.block.data(), space.width, space.block_pairs.data(), PANEL);
    const Panels columns{space.score_pairs.data(), PANEL};
    multiply_pairs(
        [&](std::int64_t row) { return Left{columns.at(row), 1, TILE_COLUMNS}; }, {space.block_pairs.data(), PANEL},
        BLOCK / 2, seen, space.width, true, to.data(), space.width);
}

// Scores become powers of e, and `inverses` one over the sum of each row.
void softmax(const float *scores, std::int64_t start, std::int64_t seen, BFloat16 *powers, float *inverses) {
    for (std::int64_t row = 0; row < BLOCK; ++row, scores += seen, powers += seen) {
        const std::int64_t visible = start + row + 1;
        inverses[row] = 1.0f / exponentials(scores, greatest_of(scores, visible), visible, powers);
        zero(powers + visible, seen - visible);
    }
}

// The gradient of scores from powers and `grad`, that of probabilities times the rows' inverses.
void softmax_gradient(
    const BFloat16 *powers, const float *inverses, const float *grad, std::int64_t seen, BFloat16 *to) {
    for (std::int64_t row = 0; row < BLOCK; ++row, powers += seen, grad += seen, to += seen) {
        Floats total = {};
        across(seen, [&](std::int64_t at, int count) { total += load(powers + at, count) * load(grad + at, count); });
        const float mean = sum(total) * inverses[row];
        across(seen, [&](std::int64_t at, int count) {
            store(to + at, load(powers + at, count) * (load(grad + at, count) - mean), count);
        });
    }
}

// Powers that are kept for one head.
std::int64_t kept_numbers(std::int64_t time) {
    const std::int64_t blocks = (time + BLOCK - 1) / BLOCK;
    return BLOCK * BLOCK * blocks * (blocks + 1) / 2;
}

// What is kept of one head.
struct Kept {
    BFloat16 *powers;
    float *inverses;
};

void attend(const Head &q, const Head &k, const Head &v, const Target &out, Kept kept, Space &space) {
    transpose(k, space);
    pair(v, space);
    for (std::int64_t start = 0; start < q.time; start += BLOCK) {
        const std::int64_t seen = start + BLOCK;
        take_block(q, start, space.width, space.block.data());
        multiply_with_transposed(space, seen);
        softmax(space.scores.data(), start, seen, kept.powers, kept.inverses + start);
        multiply_with_paired(space, kept.powers, seen, out, start, kept.inverses + start);
        kept.powers += BLOCK * seen;
    }
}

// Adds to the gradients of keys and values, whose own forms are in `space`.
void attend_back(const Head &q, const Head &grad_out, Kept kept, const Target &grad_q, Space &space) {
    for (std::int64_t start = 0; start < q.time; start += BLOCK) {
        const std::int64_t seen = start + BLOCK;
        const float *inverses = kept.inverses + start;
        take_block(grad_out, start, space.width, space.block.data(), inverses);
        multiply_with_transposed(space, seen);
        add_transposed(space, kept.powers, seen, space.grad_values);
        softmax_gradient(kept.powers, inverses, space.scores.data(), seen, space.score_rows.data());
        multiply_with_paired(space, space.score_rows.data(), seen, grad_q, start);
        take_block(q, start, space.width, space.block.data());
        add_transposed(space, space.score_rows.data(), seen, space.grad_keys);
        kept.powers += BLOCK * seen;
    }
}

void store_rows(const std::vector<float> &rows, std::int64_t width, const Target &to) {
    for (std::int64_t row = 0; row < to.time; ++row)
        scale(rows.data() + row * width, 1.0f, to.width, to.rows + row * to.stride);
}

// Head `index` of those that follow one another.
template <typename Number>
Rows<Number> separate(const Attention &a, Number *heads, std::int64_t index) {
    return {heads + index * a.time * a.width, a.width, a.time, a.width};
}

// Head `index` of those that lie beside each other, `[batch, time, heads, width]`.
template <typename Number>
Rows<Number> beside(const Attention &a, Number *heads, std::int64_t index) {
    const std::int64_t stride = a.heads * a.width;
    return {heads + index / a.heads * a.time * stride + index % a.heads * a.width, stride, a.time, a.width};
}

Kept of_head(const Attention &a, BFloat16 *powers, float *inverses, std::int64_t head) {
    return {powers + head * kept_numbers(a.time), inverses + head * up_to_multiple(a.time, BLOCK)};
}

}  // namespace

extern "C" {

// Whether this processor has the instruction, and none that multiplies larger pieces, which torch makes better use of.
int nima_attention_is_fast() {
#if defined(__AVX512BF16__) && !defined(__AMX_BF16__)
    return 1;
#else
    return 0;
#endif
}

// How many powers of e and how many inverses are kept for a head.
void nima_attention_kept(std::int64_t time, std::int64_t *powers, std::int64_t *inverses) {
    *powers = kept_numbers(time);
    *inverses = up_to_multiple(time, BLOCK);
}

// Queries `[batch, heads, time, width]`, keys and values with `kv_heads` of them become `out` `[batch, time, heads,
// width]`.
void nima_attention(
    const Attention *attention, const BFloat16 *q, const BFloat16 *k, const BFloat16 *v, BFloat16 *out,
    BFloat16 *powers, float *inverses, int threads) {
    const Attention &a = *attention;
    const std::int64_t group = a.heads / a.kv_heads;
    const auto one_head = [&](Space &space, std::int64_t head) {
        attend(
            separate(a, q, head), separate(a, k, head / group), separate(a, v, head / group), beside(a, out, head),
            of_head(a, powers, inverses, head), space);
    };
    share_by_turns(a.batch * a.heads, threads, [&] { return Space(a); }, one_head);
}

void nima_attention_gradient(
    const Attention *attention, const BFloat16 *q, const BFloat16 *k, const BFloat16 *v, BFloat16 *powers,
    float *inverses, const BFloat16 *grad_out, BFloat16 *grad_q, BFloat16 *grad_k, BFloat16 *grad_v, int threads) {
    const Attention &a = *attention;
    const std::int64_t group = a.heads / a.kv_heads;
    const auto one_head = [&](Space &space, std::int64_t index) {
        transpose(separate(a, v, index), space);
        pair(separate(a, k, index), space);
        space.grad_keys.assign(space.time * space.width, 0.0f);
        space.grad_values.assign(space.time * space.width, 0.0f);
        for (std::int64_t head = index * group; head < (index + 1) * group; ++head)
            attend_back(
                separate(a, q, head), beside(a, grad_out, head), of_head(a, powers, inverses, head),
                separate(a, grad_q, head), space);
        store_rows(space.grad_keys, space.width, separate(a, grad_k, index));
        store_rows(space.grad_values, space.width, separate(a, grad_v, index));
    };
    share_by_turns(a.batch * a.kv_heads, threads, [&] { return Space(a); }, one_head);
}

}

/* The two passes of losses/fused/loss.py for the CPU, in float32. losses/fused/torch_passes.py is the same in
   torch operations and says what the steps mean.

   The volume is cut into boxes of one or two rows, a few columns and the whole depth, so that a
   head's box stays in the processor's inner caches. A worker takes a range of boxes and has
   accumulators of its own: nothing is shared, and the order of every sum is fixed. */

#include <stdint.h>
#include <string.h>

/* Lets the compiler add in vectors; all other arithmetic keeps its order. */
#define PRAGMA(text) _Pragma(#text)
#define SUMMING(...) PRAGMA(omp simd reduction(+ : __VA_ARGS__))

enum { NO_KL, STUDENT, TEACHER, TAUGHT };  /* a teacher comes twice: before and after its students */

typedef struct {
    const float *data, *weight, *bias;  /* logits, or feature and last step; weight 0 if whole */
    float *by_data;                     /* second pass: the gradient, of the size of data */
    int64_t channels, stride[3];        /* of data; of the last step, 1 or 2 each */
    int64_t supervised, branch, role;   /* their indices, -1 if none; see the enum */
    int64_t gathered_at;                /* place of the weight's, then the bias's gradient */
} Head;

typedef struct {
    int64_t num_heads, classes, first_class, batch, size[3], step[2];
    int64_t num_supervised, power;  /* power: T where exp(z) is exp(z / T)^T */
    float inverse_temperature;
    const uint8_t *label;
    const Head *heads;
    const float *by_overlap, *by_size, *by_entropy, *by_kl;  /* see fused_plan.Slopes */
} Job;

typedef struct {
    int64_t sample, row, column, voxels;
} Box;

/* Arrays of one box: (channels or classes, voxels), the last five (voxels). */
typedef struct {
    float *feature, *made, *logits, *raw, *tempered, *probs, *gradient;  /* of the present head */
    float *teacher_logits, *teacher, *behind;                     /* of the branch's teacher */
    float *top, *sum, *dot, *log_sum, *teacher_log_sum;
    int32_t *own;
} Space;
enum { NUM_ARRAYS = 16, BLOCK = 4 };

/* exp of -87 <= x <= 0 to 2 units in the last place; NaN stays NaN. */
static inline float exponential(float x) {
    int32_t n = (int32_t)(x * 1.44269504f - 0.5f);
    float r = x - (float)n * 0.693359375f;
    r += (float)n * 2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    union { uint32_t i; float f; } scale = {((uint32_t)n + 127u) << 23};
    return y * scale.f;
}

/* Natural logarithm of a normal x > 0; NaN stays NaN. */
static inline float logarithm(float x) {
    union { float f; int32_t i; } bits = {x};
    int32_t exponent = (bits.i - 0x3F3504F3) >> 23;  /* mantissa in [0.707, 1.414) */
    union { int32_t i; float f; } mantissa = {bits.i - exponent * (1 << 23)};
    float n = (float)exponent, r = mantissa.f - 1.0f, square = r * r;
    float y = 7.0376836292e-2f;
    y = y * r - 1.1514610310e-1f;
    y = y * r + 1.1676998740e-1f;
    y = y * r - 1.2420140846e-1f;
    y = y * r + 1.4249322787e-1f;
    y = y * r - 1.6668057665e-1f;
    y = y * r + 2.0000714765e-1f;
    y = y * r - 2.4999993993e-1f;
    y = y * r + 3.3333331174e-1f;
    y = y * r * square - 2.12194440e-4f * n - 0.5f * square + r + 0.693359375f * n;
    return x != x ? x : y;
}

static Box box_of(const Job *job, int64_t index) {
    int64_t rows = job->size[0] / job->step[0], columns = job->size[1] / job->step[1];
    Box box = {index / (rows * columns), index / columns % rows * job->step[0],
               index % columns * job->step[1], job->step[0] * job->step[1] * job->size[2]};
    return box;
}

static Space space_of(const Job *job, int64_t channels, float *scratch) {
    int64_t voxels = job->step[0] * job->step[1] * job->size[2];
    int64_t part = channels * voxels + 16;
    Space s;
    float **arrays[] = {&s.feature, &s.made, &s.logits, &s.raw, &s.tempered, &s.probs, &s.gradient,
                        &s.teacher_logits, &s.teacher, &s.behind, &s.top, &s.sum, &s.dot,
                        &s.log_sum, &s.teacher_log_sum};
    for (int64_t i = 0; i < NUM_ARRAYS - 1; i++) *arrays[i] = scratch + i * part;
    s.own = (int32_t *)(scratch + (NUM_ARRAYS - 1) * part);
    return s;
}

/* The box's rows of a head's data, to or from (channels, rows, columns, depth). */
static void copy_rows(const Job *job, const Head *head, Box box, float *volume, float *local,
                      int into_volume) {
    int64_t rows = job->step[0] / head->stride[0], columns = job->step[1] / head->stride[1];
    int64_t height = job->size[0] / head->stride[0], width = job->size[1] / head->stride[1];
    int64_t depth = job->size[2] / head->stride[2];
    for (int64_t c = 0; c < head->channels; c++)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++, local += depth) {
                float *row = volume + (((box.sample * head->channels + c) * height
                                        + box.row / head->stride[0] + i) * width
                                       + box.column / head->stride[1] + j) * depth;
                if (into_volume) memcpy(row, local, depth * sizeof(float));
                else memcpy(local, row, depth * sizeof(float));
            }
}

/* Between (classes, stride, rows, columns, depth) and (classes, voxels in the volume's order). */
static void reorder(const Job *job, const Head *head, float *made, float *logits, int to_made) {
    int64_t double_depth = head->stride[2] == 2, depth = job->size[2] / head->stride[2];
    int64_t rows = job->step[0] / head->stride[0], columns = job->step[1] / head->stride[1];
    int64_t positions = rows * columns * depth;
    for (int64_t k = 0; k < job->classes; k++, logits += job->step[0] * job->step[1] * job->size[2])
        for (int64_t a = 0; a < head->stride[0]; a++)
            for (int64_t b = 0; b < head->stride[1]; b++, made += head->stride[2] * positions)
                for (int64_t i = 0; i < rows; i++)
                    for (int64_t j = 0; j < columns; j++) {
                        float *row = logits + ((i * head->stride[0] + a) * job->step[1]
                                               + j * head->stride[1] + b) * job->size[2];
                        float *even = made + (i * columns + j) * depth, *odd = even + positions;
                        for (int64_t d = 0; double_depth && !to_made && d < depth; d++)
                            row[2 * d] = even[d], row[2 * d + 1] = odd[d];
                        for (int64_t d = 0; double_depth && to_made && d < depth; d++)
                            even[d] = row[2 * d], odd[d] = row[2 * d + 1];
                        if (!double_depth && to_made) memcpy(even, row, depth * sizeof(float));
                        if (!double_depth && !to_made) memcpy(row, even, depth * sizeof(float));
                    }
}

/* result[i] = start + sum over r of weights[r * by_row] * rows[r][i], rows of n. */
static void combine(float *restrict result, int64_t n, float start, const float *restrict rows,
                    int64_t count, const float *weights, int64_t by_row) {
    for (int64_t i = 0; i < n; i++) result[i] = start;
    int64_t r = 0;
    for (; r + BLOCK <= count; r += BLOCK, rows += BLOCK * n) {
        float a = weights[r * by_row], b = weights[(r + 1) * by_row];
        float c = weights[(r + 2) * by_row], d = weights[(r + 3) * by_row];
        for (int64_t i = 0; i < n; i++)
            result[i] += a * rows[i] + b * rows[n + i] + c * rows[2 * n + i] + d * rows[3 * n + i];
    }
    for (; r < count; r++, rows += n)
        for (int64_t i = 0; i < n; i++) result[i] += weights[r * by_row] * rows[i];
}

/* sums[c][r] += the dot product of row c of f and row r of g. */
static void add_products(double *sums, const float *f, int64_t channels, const float *g,
                         int64_t rows, int64_t n) {
    for (int64_t c = 0; c < channels; c += 2)
        for (int64_t r = 0; r < rows; r += BLOCK) {
            int64_t next = c + 1 < channels ? c + 1 : c, last = rows - 1;
            const float *f0 = f + c * n, *f1 = f + next * n, *g0 = g + r * n;
            const float *g1 = g + (r + 1 < last ? r + 1 : last) * n;
            const float *g2 = g + (r + 2 < last ? r + 2 : last) * n;
            const float *g3 = g + (r + 3 < last ? r + 3 : last) * n;
            float a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
            SUMMING(a0, a1, a2, a3, b0, b1, b2, b3)
            for (int64_t i = 0; i < n; i++) {
                a0 += f0[i] * g0[i], a1 += f0[i] * g1[i];
                a2 += f0[i] * g2[i], a3 += f0[i] * g3[i];
                b0 += f1[i] * g0[i], b1 += f1[i] * g1[i];
                b2 += f1[i] * g2[i], b3 += f1[i] * g3[i];
            }
            float products[2][BLOCK] = {{a0, a1, a2, a3}, {b0, b1, b2, b3}};
            for (int64_t i = 0; i < 2 && c + i < channels; i++)
                for (int64_t j = 0; j < BLOCK && r + j < rows; j++)
                    sums[(c + i) * rows + r + j] += products[i][j];
        }
}

static int64_t made_rows(const Job *job, const Head *head) {
    return job->classes * head->stride[0] * head->stride[1] * head->stride[2];
}

/* The head's logits in the box, (classes, voxels). */
static void read_logits(const Job *job, const Head *head, Box box, const Space *s, float *logits) {
    if (!head->weight) {
        copy_rows(job, head, box, (float *)head->data, logits, 0);
        return;
    }
    copy_rows(job, head, box, (float *)head->data, s->feature, 0);
    int64_t rows = made_rows(job, head), per_class = rows / job->classes;
    int64_t positions = box.voxels / per_class;
    for (int64_t r = 0; r < rows; r++)
        combine(s->made + r * positions, positions, head->bias[r / per_class], s->feature,
                head->channels, head->weight + r, rows);
    reorder(job, head, s->made, logits, 0);
}

/* The gradient by the head's data to its volume, by weight and bias to the accumulators. */
static void write_gradient(const Job *job, const Head *head, Box box, const Space *s,
                           double *gathered) {
    if (!head->weight) {
        copy_rows(job, head, box, head->by_data, s->gradient, 1);
        return;
    }
    int64_t rows = made_rows(job, head), per_class = rows / job->classes;
    int64_t positions = box.voxels / per_class;
    reorder(job, head, s->made, s->gradient, 1);
    double *by_weight = gathered + head->gathered_at, *by_bias = by_weight + head->channels * rows;
    for (int64_t k = 0; k < job->classes; k++) {
        float sum = 0;
        SUMMING(sum)
        for (int64_t i = 0; i < box.voxels; i++) sum += s->gradient[k * box.voxels + i];
        by_bias[k] += sum;
    }
    add_products(by_weight, s->feature, head->channels, s->made, rows, positions);
    for (int64_t c = 0; c < head->channels; c++)
        combine(s->raw + c * positions, positions, 0, s->made, rows, head->weight + c * rows, 1);
    copy_rows(job, head, box, head->by_data, s->raw, 1);
}

/* raw = exp(scale * (logits - their largest)) over the classes, and what it sums to. */
static void exponentials(const float *restrict logits, int64_t classes, int64_t n, float scale,
                         float *restrict raw, float *restrict top, float *restrict sum) {
    memcpy(top, logits, n * sizeof(float));
    for (int64_t k = 1; k < classes; k++)
        for (int64_t i = 0; i < n; i++)
            top[i] = logits[k * n + i] > top[i] ? logits[k * n + i] : top[i];
    memset(sum, 0, n * sizeof(float));
    for (int64_t k = 0; k < classes; k++, logits += n, raw += n) {
        for (int64_t i = 0; i < n; i++) {  /* apart: with it the loop below is not vectorised */
            float x = scale * (logits[i] - top[i]);
            raw[i] = x < -87.0f ? -87.0f : x;
        }
        for (int64_t i = 0; i < n; i++) {
            raw[i] = exponential(raw[i]);
            sum[i] += raw[i];
        }
    }
}

static void normalise(const float *restrict raw, int64_t classes, int64_t n,
                      const float *restrict sum, float *restrict factor, float *restrict probs) {
    for (int64_t i = 0; i < n; i++) factor[i] = 1.0f / sum[i];
    for (int64_t k = 0; k < classes; k++)
        for (int64_t i = 0; i < n; i++) probs[k * n + i] = raw[k * n + i] * factor[i];
}

/* Probabilities at T of the classes of the KL; log_sum is written where it is given. */
static void tempered(const Job *job, const Space *s, const float *logits, int64_t n, float *probs,
                     float *log_sum) {
    int64_t first = job->first_class, classes = job->classes - first;
    exponentials(logits + first * n, classes, n, job->inverse_temperature, s->raw, s->top, s->sum);
    normalise(s->raw, classes, n, s->sum, s->dot, probs);
    if (log_sum)
        for (int64_t i = 0; i < n; i++)
            log_sum[i] = job->inverse_temperature * s->top[i] + logarithm(s->sum[i]);
}

/* Probabilities of the supervised head; raw holds its exponentials at T if `from_raw`. */
static void plain(const Job *job, const Space *s, const float *logits, int64_t n, int from_raw,
                  float *log_sum) {
    if (from_raw && job->power > 1) {
        memset(s->sum, 0, n * sizeof(float));
        for (int64_t k = 0; k < job->classes; k++)
            for (int64_t i = 0; i < n; i++) {
                float e = s->raw[k * n + i], power = job->power == 2 ? e * e : e * e * e;
                s->raw[k * n + i] = power;
                s->sum[i] += power;
            }
    } else {
        exponentials(logits, job->classes, n, 1.0f, s->raw, s->top, s->sum);
    }
    normalise(s->raw, job->classes, n, s->sum, s->dot, s->probs);
    if (log_sum)
        for (int64_t i = 0; i < n; i++) log_sum[i] = s->top[i] + logarithm(s->sum[i]);
}

static void read_label(const Job *job, Box box, int32_t *own) {
    for (int64_t i = 0; i < job->step[0]; i++)
        for (int64_t j = 0; j < job->step[1]; j++, own += job->size[2]) {
            const uint8_t *row = job->label + ((box.sample * job->size[0] + box.row + i)
                                               * job->size[1] + box.column + j) * job->size[2];
            for (int64_t d = 0; d < job->size[2]; d++) own[d] = row[d];
        }
}

/* First pass. result: overlap and size (S, B, K), count (B, K), cross-entropy (S), KL (2). */
void dsd_sums(const Job *job, int64_t first, int64_t last, int64_t channels, float *scratch,
              double *result) {
    int64_t n = job->step[0] * job->step[1] * job->size[2], K = job->classes;
    int64_t by_head = job->batch * K, skip = job->first_class;
    double *overlap = result, *size = overlap + job->num_supervised * by_head;
    double *count = size + job->num_supervised * by_head, *entropy = count + by_head;
    double *kl = entropy + job->num_supervised;
    Space s = space_of(job, channels, scratch);
    for (int64_t index = first; index < last; index++) {
        Box box = box_of(job, index);
        read_label(job, box, s.own);
        for (int64_t k = 0; k < K; k++) {
            int32_t found = 0;
            SUMMING(found)
            for (int64_t i = 0; i < n; i++) found += s.own[i] == k;
            count[box.sample * K + k] += found;
        }
        for (int64_t h = 0; h < job->num_heads; h++) {
            const Head *head = job->heads + h;
            int seen = head->role == STUDENT, teacher = head->role == TEACHER;
            if (head->supervised < 0 && !seen && !teacher) continue;
            float *logits = teacher || head->role == TAUGHT ? s.teacher_logits : s.logits;
            if (head->role != TAUGHT) read_logits(job, head, box, &s, logits);
            if (teacher) {
                tempered(job, &s, logits, n, s.teacher, s.teacher_log_sum);
                continue;
            }
            if (seen) {
                tempered(job, &s, logits, n, s.tempered, s.log_sum);
                double sum = 0;
                for (int64_t k = skip; k < K; k++) {
                    float part = 0;
                    SUMMING(part)
                    for (int64_t i = 0; i < n; i++)
                        part += s.teacher[(k - skip) * n + i]
                                * (job->inverse_temperature
                                   * (s.teacher_logits[k * n + i] - logits[k * n + i])
                                   + s.log_sum[i] - s.teacher_log_sum[i]);
                    sum += part;
                }
                kl[head->branch] += sum;
            }
            if (head->supervised < 0) continue;
            plain(job, &s, logits, n, seen, s.log_sum);
            int64_t at = head->supervised * by_head + box.sample * K;
            float entropies = 0;
            SUMMING(entropies)
            for (int64_t i = 0; i < n; i++) entropies += s.log_sum[i];
            double sum = entropies;
            for (int64_t k = 0; k < K; k++) {
                float all = 0, own = 0, own_logits = 0;
                SUMMING(all, own, own_logits)
                for (int64_t i = 0; i < n; i++) {
                    float p = s.probs[k * n + i];
                    all += p;
                    own += s.own[i] == k ? p : 0.0f;
                    own_logits += s.own[i] == k ? logits[k * n + i] : 0.0f;
                }
                size[at + k] += all;
                overlap[at + k] += own;
                sum -= own_logits;
            }
            entropy[head->supervised] += sum;
        }
    }
}

/* gradient += p * (G - sum p G) + e * (p - own), with G = by_size + by_overlap where own. */
static void add_supervised(const Job *job, const Head *head, Box box, const Space *s) {
    int64_t n = box.voxels, K = job->classes;
    const float *by_size = job->by_size + (head->supervised * job->batch + box.sample) * K;
    const float *by_overlap = job->by_overlap + (head->supervised * job->batch + box.sample) * K;
    float by_entropy = job->by_entropy[head->supervised];
    memset(s->dot, 0, n * sizeof(float));
    for (int64_t k = 0; k < K; k++)
        for (int64_t i = 0; i < n; i++)
            s->dot[i] += s->probs[k * n + i]
                         * (by_size[k] + (s->own[i] == k ? by_overlap[k] : 0.0f));
    for (int64_t k = 0; k < K; k++)
        for (int64_t i = 0; i < n; i++) {
            float p = s->probs[k * n + i], own = s->own[i] == k ? 1.0f : 0.0f;
            s->gradient[k * n + i] += p * (by_size[k] + own * by_overlap[k] - s->dot[i])
                                      + by_entropy * (p - own);
        }
}

/* gradient += c * q * (behind - sum q behind), of a teacher behind its students. */
static void add_taught(const Job *job, const Head *head, const Space *s, int64_t n) {
    int64_t classes = job->classes - job->first_class;
    float by_kl = job->by_kl[head->branch];
    float *gradient = s->gradient + job->first_class * n;
    memset(s->dot, 0, n * sizeof(float));
    for (int64_t k = 0; k < classes; k++)
        for (int64_t i = 0; i < n; i++)
            s->dot[i] += s->teacher[k * n + i] * s->behind[k * n + i];
    for (int64_t k = 0; k < classes; k++)
        for (int64_t i = 0; i < n; i++)
            gradient[k * n + i] += by_kl * s->teacher[k * n + i]
                                   * (s->behind[k * n + i] - s->dot[i]);
}

/* Second pass. gathered: gradients by weights and biases, where each head says. */
void dsd_gradients(const Job *job, int64_t first, int64_t last, int64_t channels, float *scratch,
                   double *gathered) {
    int64_t n = job->step[0] * job->step[1] * job->size[2], K = job->classes;
    int64_t skip = job->first_class, kl_values = (K - skip) * n;
    Space s = space_of(job, channels, scratch);
    for (int64_t index = first; index < last; index++) {
        Box box = box_of(job, index);
        read_label(job, box, s.own);
        for (int64_t h = 0; h < job->num_heads; h++) {
            const Head *head = job->heads + h;
            if (head->role == TEACHER) {
                read_logits(job, head, box, &s, s.teacher_logits);
                tempered(job, &s, s.teacher_logits, n, s.teacher, 0);
                memset(s.behind, 0, kl_values * sizeof(float));
                continue;
            }
            if (!head->by_data && head->role != STUDENT) continue;
            float *logits = s.logits;
            if (head->role == TAUGHT) {  /* its logits are there, its feature is another's by now */
                logits = s.teacher_logits;
                if (head->weight) copy_rows(job, head, box, (float *)head->data, s.feature, 0);
            } else {
                read_logits(job, head, box, &s, logits);
            }
            if (head->role == STUDENT) {
                float by_kl = job->by_kl[head->branch];
                tempered(job, &s, logits, n, s.tempered, 0);
                memset(s.gradient, 0, skip * n * sizeof(float));
                for (int64_t i = 0; i < kl_values; i++) {
                    s.gradient[skip * n + i] = by_kl * (s.tempered[i] - s.teacher[i]);
                    s.behind[i] += job->inverse_temperature
                                   * (s.teacher_logits[skip * n + i] - logits[skip * n + i]);
                }
            } else {
                memset(s.gradient, 0, K * n * sizeof(float));
            }
            if (head->role == TAUGHT) add_taught(job, head, &s, n);
            if (!head->by_data) continue;
            if (head->supervised >= 0) {
                plain(job, &s, logits, n, head->role == STUDENT, 0);
                add_supervised(job, head, box, &s);
            }
            write_gradient(job, head, box, &s, gathered);
        }
    }
}

/* The two passes of losses/fused/loss.py for the CPU, in float32. losses/fused/torch_passes.py is the same in
   torch operations and says what the steps mean.

   The volume is cut into boxes of one or two rows, a few columns and the whole depth, so that a
   head's box stays in the processor's inner caches. Of a box as many voxels as a register
   holds go at a time from logits to sums or to the gradient. A worker takes a range of boxes and has accumulators of its own: nothing
   is shared, and the order of every sum is fixed. */

#include <stdint.h>
#include <string.h>

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

/* As many voxels as a register holds. */
#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX2__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
enum { BLOCK = 4, TILE = 8, MOST_CLASSES = 256 };
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

/* Arrays of one box. Rows of classes are of `pitch` values: its voxels, then zeros up to a multiple
   of LANES; rows of channels and of what the last step makes are of their own length. */
typedef struct {
    float *feature, *made, *by_data;             /* of the present head */
    float *logits, *gradient;                    /* of the present head */
    float *teacher_logits, *teacher, *behind;    /* of the branch's teacher */
    float *teacher_log_sum;
    int32_t *own;                                /* the label; -1 beyond the voxels */
} Space;
enum { NUM_ARRAYS = 10 };

static inline Floats load(const float *from) {
    Floats x;
    memcpy(&x, from, sizeof x);
    return x;
}

static inline Ints load_label(const Space *s, int64_t i) {
    Ints own;
    memcpy(&own, s->own + i, sizeof own);
    return own;
}

static inline void store(float *to, Floats x) { memcpy(to, &x, sizeof x); }

static inline Floats where(Ints mask, Floats x) { return (Floats)(mask & (Ints)x); }

static inline Floats all_lanes(float x) { return (Floats){} + x; }

static inline Floats either(Ints mask, Floats x, Floats y) {
    return (Floats)((mask & (Ints)x) | (~mask & (Ints)y));
}

static inline float sum_of(Floats x) {
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) x[i] += x[i + half];
    return x[0];
}

/* exp of x <= 0 to 2 units in the last place, of x < -87 as of -87; NaN stays NaN. */
static inline Floats exponential(Floats x) {
    x = either(x < -87.0f, all_lanes(-87.0f), x);
    Ints n = __builtin_convertvector(x * 1.44269504f - 0.5f, Ints);
    Floats whole = __builtin_convertvector(n, Floats);
    Floats r = x - whole * 0.693359375f;
    r += whole * 2.12194440e-4f;
    Floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    return y * (Floats)((n + 127) << 23);
}

/* Natural logarithm of normal x > 0; NaN stays NaN. */
static inline Floats logarithm(Floats x) {
    Ints exponent = ((Ints)x - 0x3F3504F3) >> 23;  /* mantissa in [0.707, 1.414) */
    Floats n = __builtin_convertvector(exponent, Floats);
    Floats r = (Floats)((Ints)x - (exponent << 23)) - 1.0f, square = r * r;
    Floats y = r * 7.0376836292e-2f - 1.1514610310e-1f;
    y = y * r + 1.1676998740e-1f;
    y = y * r - 1.2420140846e-1f;
    y = y * r + 1.4249322787e-1f;
    y = y * r - 1.6668057665e-1f;
    y = y * r + 2.0000714765e-1f;
    y = y * r - 2.4999993993e-1f;
    y = y * r + 3.3333331174e-1f;
    y = y * r * square - 2.12194440e-4f * n - 0.5f * square + r + 0.693359375f * n;
    return either(x != x, x, y);
}

static Box box_of(const Job *job, int64_t index) {
    int64_t rows = job->size[0] / job->step[0], columns = job->size[1] / job->step[1];
    Box box = {index / (rows * columns), index / columns % rows * job->step[0],
               index % columns * job->step[1], job->step[0] * job->step[1] * job->size[2]};
    return box;
}

static int64_t pitch_of(Box box) { return (box.voxels + LANES - 1) / LANES * LANES; }

static Space space_of(const Job *job, int64_t channels, float *scratch) {
    int64_t part = channels * pitch_of(box_of(job, 0)) + LANES;
    Space s;
    float **arrays[] = {&s.feature, &s.made, &s.by_data, &s.logits, &s.gradient, &s.teacher_logits,
                        &s.teacher, &s.behind, &s.teacher_log_sum};
    for (int64_t i = 0; i < NUM_ARRAYS - 1; i++) *arrays[i] = scratch + i * part;
    s.own = (int32_t *)(scratch + (NUM_ARRAYS - 1) * part);
    return s;
}

/* The box's rows of a head's data, to or from (channels, rows, columns, depth) with channels
   `pitch` apart. */
static void copy_rows(const Job *job, const Head *head, Box box, float *volume, float *channel,
                      int64_t pitch, int into_volume) {
    int64_t rows = job->step[0] / head->stride[0], columns = job->step[1] / head->stride[1];
    int64_t height = job->size[0] / head->stride[0], width = job->size[1] / head->stride[1];
    int64_t depth = job->size[2] / head->stride[2];
    for (int64_t c = 0; c < head->channels; c++, channel += pitch) {
        float *local = channel;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < columns; j++, local += depth) {
                float *row = volume + (((box.sample * head->channels + c) * height
                                        + box.row / head->stride[0] + i) * width
                                       + box.column / head->stride[1] + j) * depth;
                if (into_volume) memcpy(row, local, depth * sizeof(float));
                else memcpy(local, row, depth * sizeof(float));
            }
    }
}

/* Between (classes, stride, rows, columns, depth) and (classes, voxels in the volume's order). */
static void reorder(const Job *job, const Head *head, float *made, float *logits, int64_t pitch,
                    int to_made) {
    int64_t double_depth = head->stride[2] == 2, depth = job->size[2] / head->stride[2];
    int64_t rows = job->step[0] / head->stride[0], columns = job->step[1] / head->stride[1];
    int64_t positions = rows * columns * depth;
    for (int64_t k = 0; k < job->classes; k++, logits += pitch)
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

/* result[r][i] = start[r / per_start] + sum over c of weights[c * by_c + r * by_r] * from[c][i], for
   rows of n from the first one on; up to LANES values behind the last one are overwritten. */
typedef struct {
    float *result;
    const float *start, *from, *weights;  /* start 0: from 0 on */
    int64_t rows, n, per_start, count, by_c, by_r;
} Product;

/* A few rows; their number is known when it is compiled, so that the sums stay in registers. */
static inline __attribute__((always_inline)) void multiply_rows(const Product *p, int64_t r,
                                                                int64_t number) {
    const float *weights = p->weights + r * p->by_r;
    for (int64_t i = 0; i < p->n; i += LANES) {
        int64_t at = i;
        if (i + LANES > p->n) at = p->n > LANES ? p->n - LANES : 0;  /* some once more */
        Floats sums[TILE] = {};
        for (int64_t j = 0; p->start && j < number; j++) sums[j] += p->start[(r + j) / p->per_start];
        for (int64_t c = 0; c < p->count; c++) {
            Floats x = load(p->from + c * p->n + at);
            for (int64_t j = 0; j < number; j++) sums[j] += x * weights[c * p->by_c + j * p->by_r];
        }
        for (int64_t j = 0; j < number; j++) store(p->result + (r + j) * p->n + at, sums[j]);
    }
}

static void multiply(Product p) {
    int64_t r = 0;
    for (; r + TILE <= p.rows; r += TILE) multiply_rows(&p, r, TILE);
    for (; r < p.rows; r++) multiply_rows(&p, r, 1);
}

/* sums[c][r] += the dot product of row c of f and row r of g. */
static void add_products(double *sums, const float *f, int64_t channels, const float *g,
                         int64_t rows, int64_t n) {
    for (int64_t c = 0; c < channels; c += BLOCK)
        for (int64_t r = 0; r < rows; r += BLOCK) {
            const float *fs[BLOCK], *gs[BLOCK];
            for (int64_t j = 0; j < BLOCK; j++) {
                fs[j] = f + (c + j < channels ? c + j : channels - 1) * n;
                gs[j] = g + (r + j < rows ? r + j : rows - 1) * n;
            }
            Floats products[BLOCK][BLOCK] = {};
            float rest[BLOCK][BLOCK] = {};
            int64_t i = 0;
            for (; i + LANES <= n; i += LANES)
                for (int64_t a = 0; a < BLOCK; a++)
                    for (int64_t b = 0; b < BLOCK; b++)
                        products[a][b] += load(fs[a] + i) * load(gs[b] + i);
            for (; i < n; i++)
                for (int64_t a = 0; a < BLOCK; a++)
                    for (int64_t b = 0; b < BLOCK; b++) rest[a][b] += fs[a][i] * gs[b][i];
            for (int64_t a = 0; a < BLOCK && c + a < channels; a++)
                for (int64_t b = 0; b < BLOCK && r + b < rows; b++)
                    sums[(c + a) * rows + r + b] += sum_of(products[a][b]) + rest[a][b];
        }
}

static int64_t made_rows(const Job *job, const Head *head) {
    return job->classes * head->stride[0] * head->stride[1] * head->stride[2];
}

static int64_t positions_of(Box box, const Head *head) {
    return box.voxels / (head->stride[0] * head->stride[1] * head->stride[2]);
}

/* The head's logits in the box. */
static void read_logits(const Job *job, const Head *head, Box box, const Space *s, float *logits) {
    int64_t pitch = pitch_of(box);
    if (!head->weight) {
        copy_rows(job, head, box, (float *)head->data, logits, pitch, 0);
        return;
    }
    int64_t rows = made_rows(job, head), positions = positions_of(box, head);
    copy_rows(job, head, box, (float *)head->data, s->feature, positions, 0);
    multiply((Product){.result = s->made, .rows = rows, .n = positions, .start = head->bias,
                       .per_start = rows / job->classes, .from = s->feature,
                       .count = head->channels, .weights = head->weight, .by_c = rows, .by_r = 1});
    reorder(job, head, s->made, logits, pitch, 0);
}

/* The gradient by the head's data to its volume, by its weight to the accumulators. */
static void write_gradient(const Job *job, const Head *head, Box box, const Space *s,
                           double *gathered) {
    int64_t pitch = pitch_of(box);
    if (!head->weight) {
        copy_rows(job, head, box, head->by_data, s->gradient, pitch, 1);
        return;
    }
    int64_t rows = made_rows(job, head), positions = positions_of(box, head);
    reorder(job, head, s->made, s->gradient, pitch, 1);
    add_products(gathered + head->gathered_at, s->feature, head->channels, s->made, rows,
                 positions);
    multiply((Product){.result = s->by_data, .rows = head->channels, .n = positions,
                       .from = s->made, .count = rows, .weights = head->weight, .by_c = 1,
                       .by_r = rows});
    copy_rows(job, head, box, head->by_data, s->by_data, positions, 1);
}

static void read_label(const Job *job, Box box, int32_t *own) {
    for (int64_t i = box.voxels; i < pitch_of(box); i++) own[i] = -1;
    for (int64_t i = 0; i < job->step[0]; i++)
        for (int64_t j = 0; j < job->step[1]; j++, own += job->size[2]) {
            const uint8_t *row = job->label + ((box.sample * job->size[0] + box.row + i)
                                               * job->size[1] + box.column + j) * job->size[2];
            for (int64_t d = 0; d < job->size[2]; d++) own[d] = row[d];
        }
}

/* e = exp(scale * (logits - their largest)) of LANES voxels; what they sum to. */
static inline Floats exponentials(const float *logits, int64_t classes, int64_t pitch, float scale,
                                  Floats *e, Floats *largest) {
    Floats top = load(logits), sum = {};
    for (int64_t k = 1; k < classes; k++) {
        Floats x = load(logits + k * pitch);
        top = either(x > top, x, top);
    }
    for (int64_t k = 0; k < classes; k++) {
        e[k] = exponential(scale * (load(logits + k * pitch) - top));
        sum += e[k];
    }
    *largest = top;
    return sum;
}

/* The exponentials at 1 from those at T in e, where `power` is T; what they sum to. */
static inline Floats raised(int64_t classes, int64_t power, Floats *e) {
    Floats sum = {};
    for (int64_t k = 0; k < classes; k++) {
        e[k] = power == 2 ? e[k] * e[k] : e[k] * e[k] * e[k];
        sum += e[k];
    }
    return sum;
}

/* The teacher's probabilities at T, of the classes of the KL. */
static void keep_teacher(const Job *job, const Space *s, int64_t pitch) {
    int64_t skip = job->first_class, classes = job->classes - skip;
    float scale = job->inverse_temperature;
    Floats e[MOST_CLASSES], top;
    for (int64_t i = 0; i < pitch; i += LANES) {
        const float *logits = s->teacher_logits + skip * pitch + i;
        Floats sum = exponentials(logits, classes, pitch, scale, e, &top), factor = 1.0f / sum;
        for (int64_t k = 0; k < classes; k++) store(s->teacher + k * pitch + i, e[k] * factor);
        store(s->teacher_log_sum + i, scale * top + logarithm(sum));
    }
}

/* Sums of one head in one box: overlap and size (K), entropy and KL. */
typedef struct {
    Floats overlap[MOST_CLASSES], size[MOST_CLASSES], entropy, kl;
} BoxSums;

static void add_up(const Job *job, const Head *head, Box box, const Space *s, const float *logits,
                   BoxSums *sums) {
    int64_t K = job->classes, skip = job->first_class, pitch = pitch_of(box);
    float scale = job->inverse_temperature;
    Floats e[MOST_CLASSES], top, sum;
    memset(sums->overlap, 0, K * sizeof(Floats));
    memset(sums->size, 0, K * sizeof(Floats));
    sums->entropy = sums->kl = (Floats){};
    for (int64_t i = 0; i < pitch; i += LANES) {
        const float *here = logits + i;
        if (head->role == STUDENT) {
            sum = exponentials(here + skip * pitch, K - skip, pitch, scale, e, &top);
            Floats apart = scale * top + logarithm(sum) - load(s->teacher_log_sum + i);
            for (int64_t k = skip; k < K; k++) {
                Floats ahead = load(s->teacher_logits + k * pitch + i) - load(here + k * pitch);
                sums->kl += load(s->teacher + (k - skip) * pitch + i) * (scale * ahead + apart);
            }
        }
        if (head->supervised < 0) continue;
        if (head->role == STUDENT && job->power) sum = raised(K, job->power, e);
        else sum = exponentials(here, K, pitch, 1.0f, e, &top);
        Ints own = load_label(s, i);
        Floats factor = where(own >= 0, 1.0f / sum);  /* 0 beyond the voxels */
        sums->entropy += where(own >= 0, top + logarithm(sum));
        for (int64_t k = 0; k < K; k++) {
            Floats p = e[k] * factor;
            sums->size[k] += p;
            sums->overlap[k] += where(own == (int32_t)k, p);
            sums->entropy -= where(own == (int32_t)k, load(here + k * pitch));
        }
    }
}

/* First pass. result: overlap and size (S, B, K), count (B, K), cross-entropy (S), KL (2). */
void dsd_sums(const Job *job, int64_t first, int64_t last, int64_t channels, float *scratch,
              double *result) {
    int64_t K = job->classes, by_head = job->batch * K;
    double *overlap = result, *size = overlap + job->num_supervised * by_head;
    double *count = size + job->num_supervised * by_head, *entropy = count + by_head;
    double *kl = entropy + job->num_supervised;
    Space s = space_of(job, channels, scratch);
    BoxSums sums;
    for (int64_t index = first; index < last; index++) {
        Box box = box_of(job, index);
        read_label(job, box, s.own);
        for (int64_t i = 0; i < box.voxels; i++) count[box.sample * K + s.own[i]]++;
        for (int64_t h = 0; h < job->num_heads; h++) {
            const Head *head = job->heads + h;
            int is_teacher = head->role == TEACHER;
            if (head->supervised < 0 && head->role != STUDENT && !is_teacher) continue;
            float *logits = s.logits;
            if (is_teacher || head->role == TAUGHT) logits = s.teacher_logits;
            if (head->role != TAUGHT) read_logits(job, head, box, &s, logits);
            if (is_teacher) {
                keep_teacher(job, &s, pitch_of(box));
                continue;
            }
            add_up(job, head, box, &s, logits, &sums);
            if (head->role == STUDENT) kl[head->branch] += sum_of(sums.kl);
            if (head->supervised < 0) continue;
            entropy[head->supervised] += sum_of(sums.entropy);
            int64_t at = head->supervised * by_head + box.sample * K;
            for (int64_t k = 0; k < K; k++) {
                size[at + k] += sum_of(sums.size[k]);
                overlap[at + k] += sum_of(sums.overlap[k]);
            }
        }
    }
}

/* The gradient by one head's logits in one box; by_bias (K) gains its sums, unless it is 0.

   It has up to three parts, by probabilities p at 1 and q at T:
   of a student's KL, c (q - teacher), and for its teacher (logits apart) / T is added to `behind`;
   of a teacher behind its students, c teacher (behind - sum teacher behind);
   of the Dice-CE, p (G - sum p G) + e (p - own), G = by_size + by_overlap where own. */
static void add_gradient(const Job *job, const Head *head, Box box, const Space *s,
                         const float *logits, double *by_bias) {
    int64_t K = job->classes, skip = job->first_class, pitch = pitch_of(box);
    float scale = job->inverse_temperature;
    float by_kl = head->branch < 0 ? 0 : job->by_kl[head->branch];
    int64_t at = (head->supervised * job->batch + box.sample) * K;
    Floats e[MOST_CLASSES], gradient[MOST_CLASSES], sums[MOST_CLASSES], top, sum;
    memset(sums, 0, K * sizeof(Floats));
    for (int64_t i = 0; i < pitch; i += LANES) {
        const float *here = logits + i;
        float *teacher = s->teacher + i, *behind = s->behind + i;
        for (int64_t k = 0; k < K; k++) gradient[k] = (Floats){};
        if (head->role == STUDENT) {
            sum = exponentials(here + skip * pitch, K - skip, pitch, scale, e, &top);
            Floats factor = 1.0f / sum;
            for (int64_t k = 0; k < K - skip; k++) {
                int64_t there = (k + skip) * pitch;
                gradient[k + skip] = by_kl * (e[k] * factor - load(teacher + k * pitch));
                store(behind + k * pitch, load(behind + k * pitch)
                      + scale * (load(s->teacher_logits + there + i) - load(here + there)));
            }
        }
        if (head->role == TAUGHT) {
            Floats dot = {};
            for (int64_t k = 0; k < K - skip; k++)
                dot += load(teacher + k * pitch) * load(behind + k * pitch);
            for (int64_t k = 0; k < K - skip; k++)
                gradient[k + skip] = by_kl * load(teacher + k * pitch)
                                     * (load(behind + k * pitch) - dot);
        }
        Ints own = load_label(s, i);
        if (head->supervised >= 0) {
            const float *by_size = job->by_size + at, *by_overlap = job->by_overlap + at;
            float by_entropy = job->by_entropy[head->supervised];
            if (head->role == STUDENT && job->power) sum = raised(K, job->power, e);
            else sum = exponentials(here, K, pitch, 1.0f, e, &top);
            Floats factor = 1.0f / sum, dot = {};
            for (int64_t k = 0; k < K; k++) {
                e[k] *= factor;
                Floats slope = by_size[k] + where(own == (int32_t)k, all_lanes(by_overlap[k]));
                dot += e[k] * slope;
            }
            for (int64_t k = 0; k < K; k++) {
                Ints is_own = own == (int32_t)k;
                Floats slope = by_size[k] + by_entropy - dot
                               + where(is_own, all_lanes(by_overlap[k]));
                gradient[k] += e[k] * slope - where(is_own, all_lanes(by_entropy));
            }
        }
        for (int64_t k = 0; k < K; k++) {
            store(s->gradient + k * pitch + i, gradient[k]);
            sums[k] += where(own >= 0, gradient[k]);
        }
    }
    for (int64_t k = 0; by_bias && k < K; k++) by_bias[k] += sum_of(sums[k]);
}

/* Second pass. gathered: gradients by weights and biases, where each head says. */
void dsd_gradients(const Job *job, int64_t first, int64_t last, int64_t channels, float *scratch,
                   double *gathered) {
    Space s = space_of(job, channels, scratch);
    for (int64_t index = first; index < last; index++) {
        Box box = box_of(job, index);
        int64_t pitch = pitch_of(box);
        read_label(job, box, s.own);
        for (int64_t h = 0; h < job->num_heads; h++) {
            const Head *head = job->heads + h;
            if (head->role == TEACHER) {
                read_logits(job, head, box, &s, s.teacher_logits);
                keep_teacher(job, &s, pitch);
                memset(s.behind, 0, (job->classes - job->first_class) * pitch * sizeof(float));
                continue;
            }
            if (!head->by_data && head->role != STUDENT) continue;
            float *logits = s.logits;
            if (head->role == TAUGHT) {  /* its logits are there, its feature is another's by now */
                logits = s.teacher_logits;
                if (head->weight)
                    copy_rows(job, head, box, (float *)head->data, s.feature,
                              positions_of(box, head), 0);
            } else {
                read_logits(job, head, box, &s, logits);
            }
            double *by_bias = 0;
            if (head->weight)
                by_bias = gathered + head->gathered_at + head->channels * made_rows(job, head);
            add_gradient(job, head, box, &s, logits, by_bias);
            if (head->by_data) write_gradient(job, head, box, &s, gathered);
        }
    }
}

"""The two passes of losses.fused as Triton kernels; losses.fused_torch says what the steps mean.

A program takes blocks of cells of one sample. A cell is the smallest box that the strides of the
heads at hand divide, so all voxels of a block that have the same offset in their cell use the same
slice of each last step's weight. What a program sums, it adds to a row of its own, block by block:
no atomics, and the order of every sum is fixed. All arithmetic is float32.

Arguments of the kernels:
    heads: for each head (data, weight, bias, by_sample, by_channel, by_voxel): the tensors of the
        head, data in place of weight and bias where logits are whole; then the strides of data.
    SPECS: for each head (channels, stride, supervised): channels 0 where logits are whole,
        supervised its index among those with a Dice-CE or -1.
    UNITS: what there is to do; a program does that of program_id(2).
"""

import triton
import triton.language as tl

ONE = tl.constexpr((1, 1, 1))


@triton.constexpr_function
def _item(table, index):
    """A row of a table, or a tuple in it; by [] Triton would take its numbers for variables."""
    return table[index]


@triton.jit
def sums_kernel(heads, label, rows, size_x, size_y, size_z, inverse_temperature,
                SPECS: tl.constexpr, UNITS: tl.constexpr, K: tl.constexpr,
                FIRST_CLASS: tl.constexpr, NUM_SUPERVISED: tl.constexpr, ROW: tl.constexpr,
                PADDED: tl.constexpr, BLOCK: tl.constexpr):
    """First pass, on a grid (programs, samples, units).

    A unit is (branch, first head, last head, cell): a branch with its teacher last, or a head
    without one and branch -1. `rows` are 0 at first and in the order of fused_plan.Sums.
    """
    row = rows + (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * ROW
    for unit in tl.static_range(len(UNITS)):
        if tl.program_id(2) == unit:
            _sums_of_unit(heads, label, row, (size_x, size_y, size_z), inverse_temperature, SPECS,
                          _item(UNITS, unit), K, FIRST_CLASS, NUM_SUPERVISED, PADDED, BLOCK)


@triton.jit
def gradients_kernel(heads, grads, label, rows, scratch, slopes, size_x, size_y, size_z,
                     inverse_temperature, SPECS: tl.constexpr, UNITS: tl.constexpr,
                     K: tl.constexpr, FIRST_CLASS: tl.constexpr, NUM_SUPERVISED: tl.constexpr,
                     ROW: tl.constexpr, SCRATCH: tl.constexpr, PADDED: tl.constexpr,
                     BLOCK: tl.constexpr):
    """Second pass, on a grid (programs, samples, units).

    A unit is (head, branch, teacher, first student, end of students, cell, place in the row):
    teacher is -1 without a KL, the head itself where it takes the gradient of a teacher. `grads`
    are by data and have its strides. `rows`, 0 at first, have each weight's, then bias's gradient.
    `slopes` are in the order of fused_plan.Slopes.
    """
    program = (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)).to(tl.int64)
    for unit in tl.static_range(len(UNITS)):
        if tl.program_id(2) == unit:
            _gradient_of_unit(heads, grads, label, rows + program * ROW,
                              scratch + (program * len(UNITS) + unit) * SCRATCH, slopes,
                              (size_x, size_y, size_z), inverse_temperature, SPECS, _item(UNITS, unit),
                              K, FIRST_CLASS, NUM_SUPERVISED, PADDED, BLOCK)


@triton.jit
def _sums_of_unit(heads, label, row, size, inverse_temperature, SPECS: tl.constexpr,
                  UNIT: tl.constexpr, K: tl.constexpr, FIRST_CLASS: tl.constexpr,
                  NUM_SUPERVISED: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr):
    BRANCH: tl.constexpr = UNIT[0]
    FIRST: tl.constexpr = UNIT[1]
    LAST: tl.constexpr = UNIT[2]
    CELL: tl.constexpr = _item(UNIT, 3)
    VOXELS: tl.constexpr = CELL[0] * CELL[1] * CELL[2]
    COUNT_AT: tl.constexpr = 2 * NUM_SUPERVISED * K
    classes = tl.arange(0, PADDED)
    blocks = _number_of_blocks(size, CELL, BLOCK)
    for item in range(tl.program_id(0), blocks * VOXELS, tl.num_programs(0)):
        offset = _offset(item % VOXELS, 0, ONE, CELL)
        voxels = _voxels(item // VOXELS, offset, size, CELL, BLOCK)
        hit = _hit(label, voxels, size, classes)
        live = voxels[3][None, :]
        logits = _logits(heads[LAST], voxels, offset, size, classes, _item(SPECS, LAST), K, PADDED, BLOCK)
        if FIRST == 0:
            _add(row + COUNT_AT + classes, tl.sum(tl.where(hit, 1.0, 0.0), 1), classes < K)
        _add_supervised(logits, hit, live, row, classes, _item(SPECS, LAST)[2], K, NUM_SUPERVISED)
        if FIRST < LAST:
            log_teacher, teacher = _softmax(logits * inverse_temperature, classes, FIRST_CLASS, K)
            kl = 0.0
            for student in tl.static_range(FIRST, LAST):
                logits = _logits(heads[student], voxels, offset, size, classes, _item(SPECS, student), K,
                                 PADDED, BLOCK)
                _add_supervised(logits, hit, live, row, classes, _item(SPECS, student)[2], K,
                                NUM_SUPERVISED)
                log_probs, probs = _softmax(logits * inverse_temperature, classes, FIRST_CLASS, K)
                kl += _total(tl.where(live, teacher * (log_teacher - log_probs), 0.0))
            _add(row + COUNT_AT + K + NUM_SUPERVISED + BRANCH, kl, True)
        tl.debug_barrier()  # what is stored here is loaded for the next block


@triton.jit
def _add_supervised(logits, hit, live, row, classes, INDEX: tl.constexpr, K: tl.constexpr,
                    NUM_SUPERVISED: tl.constexpr):
    if INDEX >= 0:
        log_probs, probs = _softmax(logits, classes, 0, K)
        overlap = row + INDEX * K + classes
        _add(overlap, tl.sum(tl.where(hit, probs, 0.0), 1), classes < K)
        _add(overlap + NUM_SUPERVISED * K, tl.sum(tl.where(live, probs, 0.0), 1), classes < K)
        _add(row + (2 * NUM_SUPERVISED + 1) * K + INDEX, -_total(tl.where(hit, log_probs, 0.0)),
             True)


@triton.jit
def _gradient_of_unit(heads, grads, label, row, scratch, slopes, size, inverse_temperature,
                      SPECS: tl.constexpr, UNIT: tl.constexpr, K: tl.constexpr,
                      FIRST_CLASS: tl.constexpr, NUM_SUPERVISED: tl.constexpr,
                      PADDED: tl.constexpr, BLOCK: tl.constexpr):
    HEAD: tl.constexpr = UNIT[0]
    CELL: tl.constexpr = _item(UNIT, 5)
    SPEC: tl.constexpr = _item(SPECS, HEAD)
    STRIDE: tl.constexpr = _item(SPEC, 1)
    VOXELS: tl.constexpr = STRIDE[0] * STRIDE[1] * STRIDE[2]  # of the logits, per voxel of data
    PARTS: tl.constexpr = CELL[0] * CELL[1] * CELL[2] // VOXELS
    classes = tl.arange(0, PADDED)
    kl_at = 2 * NUM_SUPERVISED * K * tl.num_programs(1) + NUM_SUPERVISED
    blocks = _number_of_blocks(size, CELL, BLOCK)
    for item in range(tl.program_id(0), blocks * PARTS, tl.num_programs(0)):
        for voxel in range(VOXELS):
            offset = _offset(item % PARTS, voxel, STRIDE, CELL)
            voxels = _voxels(item // PARTS, offset, size, CELL, BLOCK)
            logits = _logits(heads[HEAD], voxels, offset, size, classes, SPEC, K, PADDED, BLOCK)
            grad = tl.zeros((PADDED, BLOCK), tl.float32)
            if SPEC[2] >= 0:
                grad += _by_supervision(logits, _hit(label, voxels, size, classes), slopes,
                                        classes, SPEC[2], K, NUM_SUPERVISED)
            if UNIT[2] >= 0:
                kl = _by_kl(logits, heads, voxels, offset, size, classes, inverse_temperature,
                            SPECS, UNIT, K, FIRST_CLASS, PADDED, BLOCK)
                grad += tl.load(slopes + kl_at + UNIT[1]) * kl
            grad = tl.where(voxels[3][None, :] & (classes < K)[:, None], grad, 0.0)
            _scatter(grad, heads[HEAD], grads[HEAD], row + UNIT[6], scratch, voxel, voxels,
                     offset, size, classes, SPEC, K, BLOCK)


@triton.jit
def _by_supervision(logits, hit, slopes, classes, INDEX: tl.constexpr, K: tl.constexpr,
                    NUM_SUPERVISED: tl.constexpr):
    """Dice-CE by the logits (PADDED, BLOCK) of a head."""
    log_probs, probs = _softmax(logits, classes, 0, K)
    by_class = NUM_SUPERVISED * tl.num_programs(1) * K
    overlap = slopes + (INDEX * tl.num_programs(1) + tl.program_id(1)) * K + classes
    by_prob = tl.load(overlap + by_class, mask=classes < K, other=0.0)[:, None]
    by_overlap = tl.load(overlap, mask=classes < K, other=0.0)
    by_prob += tl.where(hit, by_overlap[:, None], 0.0)
    by_prob -= tl.sum(probs * by_prob, 0)[None, :]
    by_entropy = tl.load(slopes + 2 * by_class + INDEX)
    return probs * by_prob + by_entropy * (probs - tl.where(hit, 1.0, 0.0))


@triton.jit
def _by_kl(logits, heads, voxels, offset, size, classes, inverse_temperature,
           SPECS: tl.constexpr, UNIT: tl.constexpr, K: tl.constexpr, FIRST_CLASS: tl.constexpr,
           PADDED: tl.constexpr, BLOCK: tl.constexpr):
    """T times a branch's KL, by the logits (PADDED, BLOCK) of its student or teacher."""
    TEACHER: tl.constexpr = UNIT[2]
    FIRST: tl.constexpr = UNIT[3]
    STOP: tl.constexpr = UNIT[4]
    log_probs, probs = _softmax(logits * inverse_temperature, classes, FIRST_CLASS, K)
    if TEACHER != UNIT[0]:
        other = _logits(heads[TEACHER], voxels, offset, size, classes, _item(SPECS, TEACHER), K, PADDED,
                        BLOCK)
        log_teacher, teacher = _softmax(other * inverse_temperature, classes, FIRST_CLASS, K)
        return probs - teacher
    else:
        behind = tl.zeros((PADDED, BLOCK), tl.float32)  # sum over students of teacher - student
        for student in tl.static_range(FIRST, STOP):
            other = _logits(heads[student], voxels, offset, size, classes, _item(SPECS, student), K,
                            PADDED, BLOCK)
            log_student, student_probs = _softmax(other * inverse_temperature, classes,
                                                  FIRST_CLASS, K)
            behind += log_probs - log_student
        return probs * (behind - tl.sum(probs * behind, 0)[None, :])


@triton.jit
def _scatter(grad, head, by_data, row, scratch, voxel, voxels, offset, size, classes,
             SPEC: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr):
    """Put a gradient (PADDED, BLOCK) where it belongs: of the logits, or through the last step.

    A voxel of data has the sum over its voxels of the logits, which come one after the other; it
    is kept in `scratch`, (channels, BLOCK), until the last.
    """
    CHANNELS: tl.constexpr = SPEC[0]
    STRIDE: tl.constexpr = _item(SPEC, 1)
    VOXELS: tl.constexpr = STRIDE[0] * STRIDE[1] * STRIDE[2]
    at = _at(head, voxels, size, SPEC)
    live = voxels[3]
    if CHANNELS == 0:
        at = at[None, :] + classes.to(tl.int64)[:, None] * head[4]
        tl.store(by_data + at, grad.to(by_data.dtype.element_ty),
                 mask=live[None, :] & (classes < K)[:, None])
    else:
        here = classes * VOXELS + voxel
        _add(row + CHANNELS * K * VOXELS + classes, tl.sum(grad, 1), classes < K)
        for channel in range(CHANNELS):
            in_weight = channel * K * VOXELS + here
            feature = tl.load(head[0] + at, mask=live, other=0.0).to(tl.float32)
            weight = tl.load(head[1] + in_weight, mask=classes < K, other=0.0).to(tl.float32)
            _add(row + in_weight, tl.sum(grad * feature[None, :], 1), classes < K)
            total = tl.sum(grad * weight[:, None], 0)
            if VOXELS > 1:
                kept = scratch + channel * BLOCK + tl.arange(0, BLOCK)
                total += tl.load(kept, mask=live & (voxel > 0), other=0.0)
                tl.store(kept, total, mask=live & (voxel < VOXELS - 1))
            tl.store(by_data + at, total.to(by_data.dtype.element_ty),
                     mask=live & (voxel == VOXELS - 1))
            at += head[4]
        tl.debug_barrier()  # what is stored here is loaded for the next voxel


@triton.jit
def _logits(head, voxels, offset, size, classes, SPEC: tl.constexpr, K: tl.constexpr,
            PADDED: tl.constexpr, BLOCK: tl.constexpr):
    """A head's logits (PADDED, BLOCK); of no meaning outside the volume and the classes."""
    CHANNELS: tl.constexpr = SPEC[0]
    STRIDE: tl.constexpr = _item(SPEC, 1)
    VOXELS: tl.constexpr = STRIDE[0] * STRIDE[1] * STRIDE[2]
    at = _at(head, voxels, size, SPEC)
    live = voxels[3]
    if CHANNELS == 0:
        at = at[None, :] + classes.to(tl.int64)[:, None] * head[4]
        return tl.load(head[0] + at, mask=live[None, :] & (classes < K)[:, None],
                       other=0.0).to(tl.float32)
    else:
        here = (offset[0] % STRIDE[0] * STRIDE[1] + offset[1] % STRIDE[1]) * STRIDE[2]
        here = classes * VOXELS + here + offset[2] % STRIDE[2]
        bias = tl.load(head[2] + classes, mask=classes < K, other=0.0).to(tl.float32)
        logits = tl.zeros((PADDED, BLOCK), tl.float32) + bias[:, None]
        for channel in range(CHANNELS):
            feature = tl.load(head[0] + at, mask=live, other=0.0).to(tl.float32)
            weight = tl.load(head[1] + channel * K * VOXELS + here, mask=classes < K,
                             other=0.0).to(tl.float32)
            logits += weight[:, None] * feature[None, :]
            at += head[4]
        return logits


@triton.jit
def _softmax(logits, classes, FIRST: tl.constexpr, K: tl.constexpr):
    """Log-probabilities and probabilities over the classes FIRST..K-1, 0 for the others."""
    known = ((classes >= FIRST) & (classes < K))[:, None]
    logits = tl.where(known, logits, -float("inf"))
    logits -= tl.max(logits, 0)[None, :]
    log_probs = tl.where(known, logits - tl.log(tl.sum(tl.exp(logits), 0))[None, :], 0.0)
    return log_probs, tl.where(known, tl.exp(log_probs), 0.0)


@triton.jit
def _number_of_blocks(size, CELL: tl.constexpr, BLOCK: tl.constexpr):
    return tl.cdiv((size[0] // CELL[0]) * (size[1] // CELL[1]) * (size[2] // CELL[2]), BLOCK)


@triton.jit
def _offset(part, voxel, STRIDE: tl.constexpr, CELL: tl.constexpr):
    """In the cell, of a voxel of the logits within the part that belongs to one voxel of data."""
    x = part // (CELL[2] // STRIDE[2] * (CELL[1] // STRIDE[1])) * STRIDE[0]
    y = part // (CELL[2] // STRIDE[2]) % (CELL[1] // STRIDE[1]) * STRIDE[1]
    z = part % (CELL[2] // STRIDE[2]) * STRIDE[2]
    return (x + voxel // (STRIDE[1] * STRIDE[2]), y + voxel // STRIDE[2] % STRIDE[1],
            z + voxel % STRIDE[2])


@triton.jit
def _voxels(block, offset, size, CELL: tl.constexpr, BLOCK: tl.constexpr):
    """The voxels at an offset in each cell of a block: x, y, z and whether they exist."""
    cell = block * BLOCK + tl.arange(0, BLOCK)
    columns = size[1] // CELL[1]
    depth = size[2] // CELL[2]
    x = cell // (columns * depth)
    return (x * CELL[0] + offset[0], cell // depth % columns * CELL[1] + offset[1],
            cell % depth * CELL[2] + offset[2], x < size[0] // CELL[0])


@triton.jit
def _at(head, voxels, size, SPEC: tl.constexpr):
    """Where the data behind these voxels is, of channel 0."""
    STRIDE: tl.constexpr = _item(SPEC, 1)
    voxel = voxels[0] // STRIDE[0] * (size[1] // STRIDE[1]) + voxels[1] // STRIDE[1]
    voxel = voxel * (size[2] // STRIDE[2]) + voxels[2] // STRIDE[2]
    return tl.program_id(1).to(tl.int64) * head[3] + voxel.to(tl.int64) * head[5]


@triton.jit
def _hit(label, voxels, size, classes):
    """Where each class is the label, (PADDED, BLOCK)."""
    voxel = (voxels[0] * size[1] + voxels[1]) * size[2] + voxels[2]
    sample = label + tl.program_id(1).to(tl.int64) * size[0] * size[1] * size[2]
    own = tl.load(sample + voxel, mask=voxels[3], other=0)
    return (own[None, :] == classes[:, None]) & voxels[3][None, :]


@triton.jit
def _add(at, value, mask):
    tl.store(at, tl.load(at, mask=mask, other=0.0) + value, mask=mask)


@triton.jit
def _total(values):
    return tl.sum(tl.sum(values, 1), 0)

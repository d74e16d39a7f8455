// For engines that compile one program for each shape of batch: few shapes, and little padding. Lengths go up in steps of an
// eighth of the power of two below them (16 tokens at least), numbers of samples in powers of two. So a sample alone is padded by an
// eighth at most, or 15 tokens; up to 2,048 tokens there are 40 lengths, and a batch is never larger than its limits.

/** Lengths to the next power of two are cut into so many steps. */
const STEPS = 8;
const LEAST_STEP = 16;

/** A batch's shape with its padding. */
export interface BatchShape {
  readonly samples: number;
  readonly length: number;
}

/** The shape in which so many samples of that length are computed. */
export function roundShape({ samples, length }: BatchShape): BatchShape {
  const step = Math.max(LEAST_STEP, 2 ** Math.floor(Math.log2(length)) / STEPS);
  return { samples: 2 ** Math.ceil(Math.log2(samples)), length: Math.ceil(length / step) * step };
}

/** How the rule is recorded: equal execution means equal shapes. */
export const SHAPE_RULE = `lengths in ${STEPS} steps to a power of two, of ${LEAST_STEP} or more; samples in powers of two`;

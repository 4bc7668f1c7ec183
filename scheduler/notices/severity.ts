import type { Attention } from '../../protocol/status.ts';

const ranks = { info: 0, warn: 1, fail: 2 } as const;

/** As this version knows it: a word of a later one is more than a question and less than a certain failure. */
export const known = (severity: string): Attention['severity'] =>
  Object.hasOwn(ranks, severity) ? (severity as Attention['severity']) : 'warn';

/** The higher, the worse. */
export const worse = (severity: string): number => ranks[known(severity)];

import type { Attention } from '../../protocol/status.ts';

const ranks = { info: 0, warn: 1, fail: 2 } as const;

/** The higher, the worse. */
export const worse = (severity: Attention['severity']): number => ranks[severity];

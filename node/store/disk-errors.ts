/** Codes with which a disk takes no more: full, over its quota, broken, read-only. */
const codes = new Set(['ENOSPC', 'EDQUOT', 'EIO', 'EROFS']);

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException | undefined)?.code ?? '';

/** It takes nothing: a reason to wait, never to end the agent. */
export const isDiskError = (error: unknown): boolean => codes.has(codeOf(error));

/** It is full: there may be room again in a moment. */
export const isDiskFull = (error: unknown): boolean => ['ENOSPC', 'EDQUOT'].includes(codeOf(error));

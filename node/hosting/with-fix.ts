import { AutogitError, sentenceOf } from '../../protocol/errors.ts';

/** What failed and, behind an arrow, what helps: as reports carry it and commands take it apart again (`failedWith`). */
export const withFix = (error: unknown): string =>
  error instanceof AutogitError ? `${error.message} -> ${error.hint}` : sentenceOf(error);

/** What the network needs of a logger; pino fits. Fields first, then one sentence. Never a secret. */
export type LogLine = (fields: Record<string, unknown>, sentence: string) => void;
export interface NetworkLog {
  debug: LogLine;
  info: LogLine;
  warn: LogLine;
  error: LogLine;
}

/** The sentence in a thrown thing. Dials fail with several errors at once: the first few are named. */
export function sentenceOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0)
    return error.errors.slice(0, 3).map(sentenceOf).join('; ');
  if (error instanceof Error) return error.message === '' ? error.name : error.message;
  return String(error);
}

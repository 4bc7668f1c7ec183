/** What the network needs of a logger; pino fits. Fields first, then one sentence. Never a secret. */
export type LogLine = (fields: Record<string, unknown>, sentence: string) => void;
export interface NetworkLog {
  debug: LogLine;
  info: LogLine;
  warn: LogLine;
  error: LogLine;
}

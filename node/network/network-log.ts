/** What the network needs of a logger; pino fits. Fields first, then one sentence. Never a secret. */
export type LogLine = (fields: Record<string, unknown>, sentence: string) => void;
export interface NetworkLog {
  debug: LogLine;
  info: LogLine;
  warn: LogLine;
  error: LogLine;
}

/** The same, whose sentences say by its name which machine a line is about: the id of that is in its field `node`. */
export function byName(log: NetworkLog, nameOf: (node: string) => string): NetworkLog {
  const named =
    (level: keyof NetworkLog): LogLine =>
    (fields, sentence) => {
      const { node } = fields;
      log[level](fields, typeof node === 'string' && node !== '' ? sentence.replaceAll(node, nameOf(node)) : sentence);
    };
  return { debug: named('debug'), info: named('info'), warn: named('warn'), error: named('error') };
}

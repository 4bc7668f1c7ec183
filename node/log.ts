import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { counts } from './metrics/counts.ts';
import { isDiskError } from './store/disk-errors.ts';

export type Fields = Record<string, string | number | boolean | null>;

/** agent.log: pino JSON lines, `time` in epoch ms; secrets are taken out of every line. */
export interface Log {
  debug(sentence: string, fields?: Fields): void;
  info(sentence: string, fields?: Fields): void;
  warn(sentence: string, fields?: Fields): void;
  error(sentence: string, fields?: Fields): void;
  /** A line that others measure by: `event` is one of INTERFACE.md's stable names. */
  event(said: { event: string; because: string; fields?: Fields; level?: LogLevel }): void;
  close(): void;
}
type LogLevel = 'debug' | 'info' | 'warn' | 'error';

const rotation = { bytes: 20 << 20, keep: 3 } as const;
export const logFile = (home: string): string => join(home, 'agent.log');

/** GitLab's token prefixes (personal, runner, job, trigger, deploy, feed, agent, OAuth, SCIM, mail, workspace), and its oldest. */
const tokens = /\b(gl(?:pat|rt|rtr|cbt|ptt|dt|soat|ft|imt|agent|oas|ffct|wt)-|GR1348941)[\w.-]+/g;
/**
 * Credentials in a URL, whose password may have an @ or a slash in it, though it should be written %40 or %2F: whoever wrote it so is told
 * that it does not work, and the whole of it stands there. And what follows a name that says it is secret.
 */
const inUrl = /(:\/\/[^\s/:@"[]*:)(?:[^\s/"]+|(?!\d{1,5}[/?#])[^\s/@"]+\/(?:(?!:\/\/)[^\s"@])*)@/g;
const named = /("(?:[\w-]*token|authorization|password|meshKey|secret|inviteCode|payload)"\s*:\s*)"(?:[^"\\]|\\.)*"/gi;

/** Takes secrets out of a text: GitLab's tokens, passwords in URLs, values of JSON fields that are secret by name. */
export const redact = (text: string): string =>
  text.replace(tokens, '$1[redacted]').replace(inUrl, '$1[redacted]@').replace(named, '$1"[redacted]"');

/** Appends to a file (0600) and starts a new one at `bytes`; the `keep` before it are file.1, file.2, ... */
class RotatingFile {
  readonly #path: string;
  readonly #limits: { bytes: number; keep: number };
  #handle: number;
  #size: number;

  constructor(path: string, limits: { bytes: number; keep: number }) {
    this.#path = path;
    this.#limits = limits;
    this.#handle = openSync(path, 'a', 0o600);
    this.#size = fstatSync(this.#handle).size;
  }

  /** A full disk must not end the agent: a line that cannot be written is lost. */
  write(line: string): void {
    try {
      if (this.#size >= this.#limits.bytes) this.#rotate();
      this.#size += writeSync(this.#handle, redact(line));
    } catch (error) {
      if (!isDiskError(error)) throw error;
    }
  }

  close(): void {
    closeSync(this.#handle);
  }

  #rotate(): void {
    closeSync(this.#handle);
    for (let i = this.#limits.keep - 1; i >= 0; i--) {
      const from = i === 0 ? this.#path : `${this.#path}.${i}`;
      try {
        renameSync(from, `${this.#path}.${i + 1}`);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
    this.#handle = openSync(this.#path, 'a', 0o600);
    this.#size = 0;
  }
}

/** Opens `agent.log` of a home. Writes are synchronous: the last line before a crash is there. */
export function openLog(
  home: string,
  options: { level?: LogLevel; base?: Fields; bytes?: number; keep?: number } = {},
): Log {
  const file = new RotatingFile(logFile(home), { ...rotation, ...pick(options) });
  const logger = pino({ level: options.level ?? 'info', base: options.base ?? null }, file);
  const at =
    (level: LogLevel) =>
    (sentence: string, fields: Fields = {}) =>
      logger[level](fields, sentence);
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    event: ({ event, because, fields = {}, level = 'info' }) => {
      counts.event(event, fields);
      logger[level]({ event, ...fields }, because);
    },
    close: () => file.close(),
  };
}

const pick = ({ bytes, keep }: { bytes?: number; keep?: number }) => ({
  ...(bytes === undefined ? {} : { bytes }),
  ...(keep === undefined ? {} : { keep }),
});

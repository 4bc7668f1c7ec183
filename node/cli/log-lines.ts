import { shown } from '../foreign-text.ts';
import { wrapped } from '../text-wrap.ts';
import { shortTime } from './local-time.ts';

const levels: Record<number, string> = { 10: 'trace', 20: 'debug', 40: 'warn', 50: 'error', 60: 'fatal' };

/**
 * One line of agent.log for people: `23:41:58 job 16 runs here: …`, with the day where it is not today, in as many lines of at most `columns` characters as it takes, the later
 * ones set in below its words. What is no such line stays as it is.
 */
export function logLine(line: string, columns = Number.POSITIVE_INFINITY): string {
  let read: { time?: unknown; level?: unknown; msg?: unknown; machine?: unknown };
  try {
    read = JSON.parse(line) as typeof read;
  } catch {
    return shown(line);
  }
  if (typeof read !== 'object' || read === null || typeof read.msg !== 'string' || typeof read.time !== 'number')
    return shown(line);
  const level = typeof read.level === 'number' ? levels[read.level] : undefined;
  const machine = typeof read.machine === 'string' ? `${read.machine.padEnd(10)} ` : '';
  const head = shown(`${shortTime(new Date(read.time))} ${machine}`);
  const text = shown(`${level ? `${level}: ` : ''}${read.msg}`);
  return wrapped(text, Math.max(24, columns - head.length))
    .map((part, index) => `${index === 0 ? head : ' '.repeat(head.length)}${part}`)
    .join('\n');
}

/** Pieces of agent.log as whole lines for people; a line may come in several pieces. */
export class LogLines {
  readonly #columns: number;
  #rest = '';

  constructor(columns = Number.POSITIVE_INFINITY) {
    this.#columns = columns;
  }

  add(text: string): string {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    return lines.map((line) => `${logLine(line, this.#columns)}\n`).join('');
  }

  end(): string {
    const last = this.#rest;
    this.#rest = '';
    return last === '' ? '' : `${logLine(last, this.#columns)}\n`;
  }
}

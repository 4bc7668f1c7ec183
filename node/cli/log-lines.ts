import { shown } from '../foreign-text.ts';

const levels: Record<number, string> = { 10: 'trace', 20: 'debug', 40: 'warn', 50: 'error', 60: 'fatal' };

/** One line of agent.log for people: `23:41:58 job 16 runs here: …`; what is no such line stays as it is. */
export function logLine(line: string): string {
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
  return shown(`${new Date(read.time).toTimeString().slice(0, 8)} ${machine}${level ? `${level}: ` : ''}${read.msg}`);
}

/** Pieces of agent.log as whole lines for people; a line may come in several pieces. */
export class LogLines {
  #rest = '';

  add(text: string): string {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    return lines.map((line) => `${logLine(line)}\n`).join('');
  }

  end(): string {
    const last = this.#rest;
    this.#rest = '';
    return last === '' ? '' : `${logLine(last)}\n`;
  }
}

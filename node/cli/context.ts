import { AutogitError } from '../../protocol/errors.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { homesToSearch, type Settings } from '../settings/settings.ts';

/** Where a command speaks: data on stdout, talk on stderr. */
export interface Output {
  /** True when people read stdout; otherwise tabs, RFC 3339, nothing cut. */
  readonly isTerminal: boolean;
  readonly columns: number;
  data(text: string): void;
  json(value: unknown): void;
  talk(text: string): void;
  /** Clears the screen before the next picture of a watch, on a terminal. */
  restart(): void;
}

/** Ctrl-C, as a command sees it: it ends the command at once, until that says otherwise. */
export interface Stopping {
  /** From now on the command is told by the signal, says what becomes of what it watched, and ends by itself. */
  told(): AbortSignal;
  /** From now on it listens to SIGINT and SIGTERM itself. */
  own(): void;
}

/** What a command is given: its arguments, its settings, its voice. */
export interface Context {
  readonly command: string;
  readonly args: readonly (string | undefined)[];
  readonly settings: Settings;
  readonly out: Output;
  readonly stop: Stopping;
}

/** A client of the running agent. Throws `no-agent`. */
export async function agentOf(context: Context): Promise<AgentClient> {
  const { findAgent } = await import('../local-api/socket-client.ts');
  return findAgent(homesToSearch(context.settings));
}

/** The machine that has to be named. Commands that can do without it (`--cancel`) leave it to this to ask. Throws `bad-flag`. */
export function nodeArgument({ args: [node] }: Context): string {
  if (node === undefined) throw new AutogitError('bad-flag', "missing required argument 'node'");
  return node;
}

/** A job's number from the command line. Throws `bad-flag`. */
export function jobArgument(text: string | undefined): number {
  const job = Number(text);
  if (!/^\d{1,15}$/.test(text ?? '') || job < 1) throw new AutogitError('bad-flag', `"${text}" is no job's number`);
  return job;
}

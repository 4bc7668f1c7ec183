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

/** What a command is given: its arguments, its settings, its voice. */
export interface Context {
  readonly command: string;
  readonly args: readonly (string | undefined)[];
  readonly settings: Settings;
  readonly out: Output;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
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

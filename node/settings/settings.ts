import { AutogitError } from '../../protocol/errors.ts';
import { configFile, systemHome, userHome } from '../store/home.ts';
import { isPort, parseDuration, parseSize } from './quantities.ts';
import { type Flag, flags, flagsOf, spellingOf, variableOf } from './settings-table.ts';

export type Environment = Readonly<Record<string, string | undefined>>;
export type Source = 'flag' | 'variable' | 'file' | 'default';
type Value = boolean | string | number | string[] | null;

/** A GPU that is played (demo, tests): it takes work by tag and is shown as "(played)". */
export interface PlayedGpu {
  model: string;
  memoryBytes: number;
}

/** Everything that `join` takes, checked. Times in ms, sizes in bytes. */
export interface JoinOptions {
  home: string;
  /** Null: nothing was said about founding; otherwise found one when nobody answers. */
  found: { name: string | null } | null;
  /** Join only a mesh of this name, or with this id. */
  mesh: string | null;
  /** Keys that came from the command line: what a person says now. */
  typed: readonly string[];
  /** Leave this home's mesh for another one. */
  switch: boolean;
  pairMs: number | null;
  invite: string | null;
  peers: string[];
  /** NodeName. */
  name: string;
  /** True when `name` was given and not made from the host name. */
  isNamed: boolean;
  witness: boolean;
  /** Empty: docker where an engine answers. */
  executors: ('docker' | 'process')[];
  dockerHost: string | null;
  /** For docker jobs that name no image; null: they fail. */
  defaultImage: string | null;
  /** Images that jobs pulled go with less free on the engine's disk; 0: never for that. */
  imageRoomPercent: number;
  /** ... and when so long unused; 0: never for that. */
  imageAgeMs: number;
  labels: string[];
  /** Multiaddrs; empty: the default port on all interfaces. */
  listen: string[];
  dashboard: string | null;
  service: boolean;
  maxRuns: number | null;
  reserveMemoryBytes: number;
  /** Most bytes of one artifact before it is packed. */
  artifactLimitBytes?: number | undefined;
  mdns: boolean;
  user: string | null;
  playGpus: PlayedGpu[];
  /** May questions be asked on the terminal? */
  input: boolean;
  yes: boolean;
  quiet: boolean;
  verbose: boolean;
  color: boolean;
}

/** The settings in force for one command: flag > AUTOGIT_ variable > autogit.yml > default. */
export class Settings {
  readonly #values: Map<string, { value: Value; source: Source }>;
  /** AUTOGIT_ variables that are set and mean nothing. */
  readonly unknownVariables: readonly string[];

  constructor(values: Map<string, { value: Value; source: Source }>, unknownVariables: readonly string[] = []) {
    this.#values = values;
    this.unknownVariables = unknownVariables;
  }

  get(key: string): Value {
    return this.#values.get(key)?.value ?? null;
  }
  source(key: string): Source {
    return this.#values.get(key)?.source ?? 'default';
  }
  isOn(key: string): boolean {
    return this.get(key) === true;
  }
  text(key: string): string | null {
    const value = this.get(key);
    return typeof value === 'string' ? value : null;
  }
  number(key: string): number | null {
    const value = this.get(key);
    return typeof value === 'number' ? value : null;
  }
  list(key: string): string[] {
    const value = this.get(key);
    return Array.isArray(value) ? value : [];
  }
  entries(): { key: string; value: Value; source: Source }[] {
    return [...this.#values].map(([key, entry]) => ({ key, ...entry }));
  }
}

const words: Record<string, boolean> = {
  on: true,
  true: true,
  yes: true,
  1: true,
  off: false,
  false: false,
  no: false,
  0: false,
};

/** One text of any source as the flag's value. Throws `bad-flag` with a sentence that does not name the source. */
function parseOne(flag: Flag, text: string): Value {
  switch (flag.kind) {
    case 'switch': {
      const word = words[text.trim().toLowerCase()];
      if (word === undefined) throw new AutogitError('bad-flag', `"${text}" is neither on nor off`);
      return word;
    }
    case 'optional':
      return text === '' ? true : (words[text.trim().toLowerCase()] ?? text);
    case 'duration':
      return parseDuration(text);
    case 'size':
      return parseSize(text);
    case 'count':
      if (!/^\d{1,9}$/.test(text.trim())) throw new AutogitError('bad-flag', `"${text}" is no whole number`);
      return Number(text);
    case 'port':
      if (!isPort(text.trim()))
        throw new AutogitError('bad-flag', `"${text}" is no port; write a number from 0 to 65535`);
      return Number(text);
    case 'choice':
      checkChoice(flag, text);
      return text;
    case 'list':
    case 'text':
      return text;
  }
}

function checkChoice(flag: Flag, text: string): void {
  if (flag.choices && !flag.choices.includes(text))
    throw new AutogitError('bad-flag', `"${text}" is none of ${flag.choices.join(', ')}`);
}

function parseText(flag: Flag, text: string | string[]): Value {
  if (flag.kind !== 'list') {
    if (Array.isArray(text)) throw new AutogitError('bad-flag', 'it takes one value, not a list');
    return parseOne(flag, text);
  }
  const parts = [text].flat().flatMap((part) => part.split(flag.separator ?? ','));
  const list = parts.map((part) => part.trim()).filter((part) => part !== '' || flag.separator !== undefined);
  for (const part of list) checkChoice(flag, part);
  return list;
}

export interface SettingsSources {
  /** The command whose flags count besides the global ones; null = all (for `config`). */
  command: string | null;
  /** What the command line said, by key; `true`/`false` for switches, texts otherwise. */
  given: Readonly<Record<string, boolean | string | string[] | undefined>>;
  env: Environment;
  /** Texts of autogit.yml by key. */
  file: ReadonlyMap<string, string | string[]>;
  fileName: string;
}

/** Puts the sources together. Throws `bad-flag` or `bad-config`, naming flag, variable or key. */
export function resolveSettings(sources: SettingsSources): Settings {
  const wanted = sources.command === null ? flags : [...flagsOf('*'), ...flagsOf(sources.command)];
  const values = new Map<string, { value: Value; source: Source }>();
  for (const flag of wanted) values.set(flag.key, resolveOne(flag, sources));
  const known = new Set(flags.map(variableOf));
  const unknown = Object.keys(sources.env).filter((name) => name.startsWith('AUTOGIT_') && !known.has(name));
  return new Settings(values, unknown);
}

function resolveOne(flag: Flag, sources: SettingsSources): { value: Value; source: Source } {
  const given = sources.given[flag.key];
  const variable = sources.env[variableOf(flag)];
  const written = sources.file.get(flag.key);
  const named = (where: string, code: 'bad-flag' | 'bad-config', text: boolean | string | string[]): Value => {
    try {
      return typeof text === 'boolean' ? text : parseText(flag, text);
    } catch (cause) {
      throw new AutogitError(code, `${where}: ${(cause as Error).message}`, { cause });
    }
  };
  if (given !== undefined) return { value: named(spellingOf(flag), 'bad-flag', given), source: 'flag' };
  if (variable !== undefined && variable !== '')
    return { value: named(variableOf(flag), 'bad-config', variable), source: 'variable' };
  if (written !== undefined)
    return { value: named(`${sources.fileName}: ${flag.key}`, 'bad-config', written), source: 'file' };
  return { value: defaultOf(flag), source: 'default' };
}

function defaultOf(flag: Flag): Value {
  if (flag.kind === 'switch') return flag.default ?? false;
  if (typeof flag.default === 'string') return parseOne(flag, flag.default);
  return flag.kind === 'list' ? [] : null;
}

/** The settings of a command of this process. Reads autogit.yml only where there is one. */
export async function loadSettings(
  command: string | null,
  given: SettingsSources['given'],
  env: Environment = process.env,
): Promise<Settings> {
  const named = typeof given.config === 'string' ? given.config : env.AUTOGIT_CONFIG || null;
  const fileName = named ?? configFile(env);
  const { existsSync } = await import('node:fs');
  const file =
    named !== null || existsSync(fileName)
      ? (await import('./settings-file.ts')).readSettingsFile(fileName, named !== null)
      : new Map<string, string>();
  return resolveSettings({ command, given, env, file, fileName });
}

/** Where the agent's state is: `--home`, else this user's. */
export const homeOf = (settings: Settings, env: Environment = process.env): string =>
  settings.text('home') ?? userHome(env);

/** Homes in which the CLI looks for a running agent, in this order. */
export const homesToSearch = (settings: Settings, env: Environment = process.env): string[] => {
  const named = settings.text('home');
  return named === null ? [userHome(env), systemHome] : [named];
};

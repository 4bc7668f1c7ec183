import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { configFile, type Environment, systemHome, userHome } from '../store/home.ts';
import type { GiveWay } from './give-way.ts';
import type { FileTarget } from './notify-file.ts';
import type { OwnerHours } from './owner-hours.ts';
import type { Note, Place } from './settings-note.ts';
import type { PageSettings } from './settings-page.ts';
import { type Flag, flags, flagsOf, spellingOf, variableOf } from './settings-table.ts';
import { checkTyped, parseOne, parseText, type Value } from './settings-value.ts';
import type { WebhookSettings } from './settings-webhook.ts';

export type Source = 'flag' | 'variable' | 'file' | 'default';
/** `where`: the variable, or the file, the line and, where it is another, the key; absent for flags and defaults. */
type Entry = { value: Value; source: Source; where?: string };

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
  /** Bytes of all trees that are kept for later jobs; null: by the disk. */
  keepTreesBytes: number | null;
  /** What becomes of running jobs that are in this machine's owner's way. */
  giveWay: GiveWay;
  ownerHours: OwnerHours[];
  /** Two jobs may have one GPU, where both say how much of its memory they need. */
  sharesGpus: boolean;
  /** False: a full-screen window is no play. */
  seesFullScreen: boolean;
  /** Projects whose jobs with the tag `engine` may use this machine's engine. */
  engineForJobs: string[];
  labels: string[];
  /** Multiaddrs; empty: the default port on all interfaces. */
  listen: string[];
  /** Null: no page is served. */
  dashboard: PageSettings | null;
  service: boolean;
  maxRuns: number | null;
  reserveMemoryBytes: number;
  /** Its autogit.yml, there or not: users and groups of GitLab are read there while it runs. */
  settingsFile: string;
  /** False: its owner wants no copies on it of a GitLab that another machine runs. */
  holdsCopies: boolean;
  /** False: GitLab is not tried on it from the copy that it holds. */
  hasDrills: boolean;
  /** GitLab's answers to writes, where it runs here, wait for the mesh (SAFETY H9). */
  isStrict: boolean;
  /** Before which of them the mesh's GitLab, where it runs here, moves to another machine. */
  handsOver: 'never' | 'shutdown' | 'always';
  /** When its owner lets GitLab be booted on it while its host is silent. Null: `auto`. */
  bootsBeside: 'auto' | 'always' | 'never' | null;
  /** False: it does not listen on the ports of a GitLab that another machine runs, nor answers to its name. */
  forwards: boolean;
  /** Most that it sends a second of whole copies and large files to other machines; null: what the way has room for. */
  copyRateBytes: number | null;
  /** Most bytes of one artifact before it is packed. */
  artifactLimitBytes?: number | undefined;
  /** Most bytes of all caches of jobs together; absent: the usual. */
  cacheLimitBytes?: number | undefined;
  /** False: caches of jobs are neither given to other machines of the mesh nor taken from them. */
  sharesCaches: boolean;
  mdns: boolean;
  /** Null: GitLab cannot tell it anything. */
  webhook: WebhookSettings | null;
  /** Whom its file has the mesh tell that something is wrong. */
  notify: FileTarget[];
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
  readonly #values: Map<string, Entry>;
  /** AUTOGIT_ variables that are set and mean nothing. */
  readonly unknownVariables: readonly string[];
  /** What becomes of the keys of autogit.yml that are no settings of ours. */
  readonly notes: readonly Note[];

  constructor(values: Map<string, Entry>, unknownVariables: readonly string[] = [], notes: readonly Note[] = []) {
    this.#values = values;
    this.unknownVariables = unknownVariables;
    this.notes = notes;
  }

  get(key: string): Value {
    return this.#values.get(key)?.value ?? null;
  }
  source(key: string): Source {
    return this.#values.get(key)?.source ?? 'default';
  }
  /** `/home/ada/autogit.yml, line 3: `, to stand before the key in an error; empty for flags and defaults. */
  where(key: string): string {
    return this.#values.get(key)?.where ?? '';
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

export interface SettingsSources {
  /** The command whose flags count besides the global ones; null = all (for `config`). */
  command: string | null;
  /** What the command line said, by key; `true`/`false` for switches, texts otherwise. */
  given: Readonly<Record<string, boolean | string | string[] | undefined>>;
  env: Environment;
  /** Texts of autogit.yml by key. */
  file: ReadonlyMap<string, string | string[]>;
  fileName: string;
  /** Where in the file each of them stands. */
  places?: ReadonlyMap<string, Place>;
  notes?: readonly Note[];
}

/** Puts the sources together. Throws `bad-flag` or `bad-config`, naming flag, variable or key. */
export function resolveSettings(sources: SettingsSources): Settings {
  const wanted = sources.command === null ? flags : [...flagsOf('*'), ...flagsOf(sources.command)];
  const values = new Map<string, Entry>();
  for (const flag of wanted) values.set(flag.key, resolveOne(flag, sources));
  const known = new Set(flags.map(variableOf));
  const unknown = Object.keys(sources.env).filter((name) => name.startsWith('AUTOGIT_') && !known.has(name));
  return new Settings(values, unknown, sources.notes);
}

function resolveOne(flag: Flag, sources: SettingsSources): Entry {
  const given = sources.given[flag.key];
  const variable = sources.env[variableOf(flag)];
  const written = sources.file.get(flag.key);
  const named = (where: string, code: 'bad-flag' | 'bad-config', text: boolean | string | string[]): Value => {
    try {
      // A file or a variable of before, which starts an agent at boot, goes on meaning what it meant.
      if (code === 'bad-flag' && typeof text === 'string') checkTyped(flag, text);
      return typeof text === 'boolean' ? text : parseText(flag, text);
    } catch (cause) {
      throw new AutogitError(code, `${where}: ${sentenceOf(cause)}`, { cause });
    }
  };
  if (given !== undefined) return { value: named(spellingOf(flag), 'bad-flag', given), source: 'flag' };
  if (variable !== undefined && variable !== '')
    return {
      value: named(variableOf(flag), 'bad-config', variable),
      source: 'variable',
      where: `the variable ${variableOf(flag)}: `,
    };
  if (written !== undefined) {
    const where = whereOf(flag, sources);
    return { value: named(`${where}${flag.key}`, 'bad-config', written), source: 'file', where };
  }
  return { value: defaultOf(flag), source: 'default' };
}

/** What stands under a key of the seed design is named by that key too. */
function whereOf({ key }: Flag, { fileName, places }: SettingsSources): string {
  const place = places?.get(key);
  if (place === undefined) return `${fileName}: `;
  return `${fileName}, line ${place.line}: ${place.key === key ? '' : `${place.key} is `}`;
}

function defaultOf(flag: Flag): Value {
  if (flag.kind === 'switch') return flag.default ?? false;
  if (typeof flag.default === 'string') return parseOne(flag, flag.default);
  return flag.kind === 'list' ? [] : null;
}

/**
 * The settings of a command of this process. Reads autogit.yml only where there is one; `ignoresFile`: not even then.
 */
export async function loadSettings(
  command: string | null,
  given: SettingsSources['given'],
  env: Environment = process.env,
  ignoresFile = false,
): Promise<Settings> {
  const named = typeof given.config === 'string' ? given.config : env.AUTOGIT_CONFIG || null;
  const fileName = named ?? configFile(env);
  const { existsSync } = await import('node:fs');
  if (ignoresFile || (named === null && !existsSync(fileName)))
    return resolveSettings({ command, given, env, file: new Map(), fileName });
  const { readSettingsFile } = await import('./settings-file.ts');
  const name = typeof given.name === 'string' ? given.name : env.AUTOGIT_NAME || undefined;
  const { values, places, notes } = readSettingsFile(fileName, named !== null, name);
  return resolveSettings({ command, given, env, file: values, fileName, places, notes });
}

/** Where the agent's state is: `--home`, else this user's. */
export const homeOf = (settings: Settings, env: Environment = process.env): string =>
  settings.text('home') ?? userHome(env);

/** The autogit.yml that counts, there or not. */
export const configOf = (settings: Settings, env: Environment = process.env): string =>
  settings.text('config') ?? configFile(env);

/** Homes in which the CLI looks for a running agent, in this order. */
export const homesToSearch = (settings: Settings, env: Environment = process.env): string[] => {
  const named = settings.text('home');
  return named === null ? [userHome(env), systemHome] : [named];
};

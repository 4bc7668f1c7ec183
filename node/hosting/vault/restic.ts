import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { z } from 'zod';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { span } from '../../../scheduler/phrases.ts';
import { findProgram, spawnClean } from '../../clean-spawn.ts';
import { shown } from '../../foreign-text.ts';
import { toolEnv } from '../system-tools.ts';
import { bytesReadBy, SignOfLife } from './sign-of-life.ts';

/** Where it lies for one call: `target` in restic's words. `trouble`: it is no use to go on, for the reason that it gives. */
interface Reached {
  target: string;
  trouble?: AbortSignal;
}

/** A place that is there only while restic uses it. */
export type Reach = <T>(use: (at: Reached) => Promise<T>) => Promise<T>;

/** Where backups lie and what opens it. None of it stands among arguments, which everybody on the machine may read. */
interface Repository {
  target: string | Reach;
  password: string;
  credentials: Readonly<Record<string, string>>;
}

/** How far it is, 0 to 1. */
type Percent = (done: number) => void;

interface How {
  signal: AbortSignal;
  cwd?: string;
  /** The beginning of a command that runs the rest of it. */
  around?: readonly string[];
  /** Of each line that it writes. */
  onLine?: (line: string) => void;
}

const Snapshot = z.looseObject({
  id: z.string().regex(/^[0-9a-f]{64}$/),
  time: z.string(),
  tags: z.array(z.string()).nullish(),
});
export type Snapshot = z.infer<typeof Snapshot>;
const Thinned = z.array(z.looseObject({ remove: z.array(Snapshot).nullish() }));
const Config = z.looseObject({ id: z.string() });
const Summary = z.looseObject({ message_type: z.literal('summary'), snapshot_id: z.string() });
const Progress = z.looseObject({ message_type: z.literal('status'), percent_done: z.number() });
const Node = z.looseObject({ struct_type: z.literal('node'), type: z.string(), path: z.string() });
const Size = z.looseObject({ total_size: z.number() });

export const resticTimings = {
  /** It gives no sign of life for so long: a target that hangs must not hold backups up for ever. */
  silentMs: 30 * 60_000,
};
/** Looks in that time, by which it is counted: an agent that stood still itself has not seen it do nothing. */
const looksMost = 30;
/** It takes its lock along when it is asked to end; then it is ended. */
const endMs = 5_000;

/** restic, as every Linux has it (0.14 and later).  */
export class Restic {
  readonly #repository: Repository;
  readonly #cache: string;

  /** `cache`: a folder of ours; restic makes it. */
  constructor(repository: Repository, cache: string) {
    this.#repository = repository;
    this.#cache = cache;
  }

  /** The id of the repository; null where there is none yet. Throws where there is one that this password does not open. */
  async id(signal: AbortSignal): Promise<string | null> {
    try {
      return Config.parse(JSON.parse(await this.#run(['cat', 'config', '--json'], { signal }))).id;
    } catch (error) {
      // A target that cannot be reached is not an empty one: only what says that there is nothing counts.
      const said = sentenceOf(error);
      if (/^restic cat failed/.test(said) && /does not exist|no such file|NoSuchKey|\(404\)/i.test(said)) return null;
      throw error;
    }
  }

  async init(signal: AbortSignal): Promise<void> {
    await this.#run(['init'], { signal });
  }

  /** All in that folder, as from its root, so that the next one finds what has not changed wherever it lies then. Its short id. */
  async backup(
    cwd: string,
    {
      tags,
      parent,
      onPercent,
      signal,
      around = [],
      paths = ['.'],
    }: {
      tags: string[];
      parent: string | null;
      onPercent: Percent;
      signal: AbortSignal;
      around?: readonly string[];
      paths?: readonly string[];
    },
  ): Promise<string> {
    let id: string | null = null;
    const onLine = (line: string): void => {
      const progress = parsed(Progress, line);
      if (progress) onPercent(progress.percent_done);
      // Later versions tell all of it.
      id = parsed(Summary, line)?.snapshot_id.slice(0, 8) ?? id;
    };
    const basis = parent === null ? ['--force'] : ['--parent', parent];
    const words = [
      'backup',
      '--json',
      '--host',
      'autogit',
      ...basis,
      ...tags.flatMap((tag) => ['--tag', tag]),
      ...paths,
    ];
    try {
      await this.#run(words, { signal, cwd, onLine, around });
    } catch (error) {
      // What could not be read whole is no backup, and must not be taken for one.
      if (id !== null) await this.#run(['forget', id], { signal }).catch(() => '');
      throw error;
    }
    if (id === null) throw problem('restic ended well and named no backup', 'which one it is: restic version');
    return id;
  }

  /** Ours, the oldest of them first. */
  async snapshots(signal: AbortSignal): Promise<Snapshot[]> {
    const all = z
      .array(Snapshot)
      .nullable()
      .parse(JSON.parse(await this.#run(['snapshots', '--json', '--host', 'autogit'], { signal })));
    return (all ?? []).sort((a, b) => Date.parse(a.time) - Date.parse(b.time));
  }

  /**
   * Of those with that tag one for each day, week and month stays; what nobody needs any more goes. `made`: just now, and stays: where a
   * clock was ahead for a while, those of then are the last days that there are, and each new one would go at once.
   */
  async forget(
    tag: string,
    keep: { daily: number; weekly: number; monthly: number },
    signal: AbortSignal,
    made: string,
  ): Promise<void> {
    const kept = [
      ['--keep-daily', keep.daily],
      ['--keep-weekly', keep.weekly],
      ['--keep-monthly', keep.monthly],
    ] as const;
    const words = kept.flatMap(([name, count]) => (count > 0 ? [name, String(count)] : []));
    const those = ['--host', 'autogit', '--tag', tag, '--group-by', '', ...words];
    const said = await this.#alone(['forget', '--dry-run', '--json', ...those], signal);
    const groups = said.trim() === '' ? [] : Thinned.parse(JSON.parse(said));
    const goes = groups
      .flatMap(({ remove }) => (remove ?? []).map(({ id }) => id))
      .filter((id) => !id.startsWith(made));
    for (let from = 0; from < goes.length; from += 500)
      await this.#alone(['forget', '--prune', ...goes.slice(from, from + 500)], signal);
  }

  /** These, and what nobody needs any more then. `repackMost`: bytes that it may write anew to that end. */
  async drop(ids: readonly string[], repackMost: number, signal: AbortSignal): Promise<void> {
    for (let from = 0; from < ids.length; from += 500)
      await this.#alone(['forget', ...ids.slice(from, from + 500)], signal);
    await this.#alone(['prune', '--max-repack-size', String(Math.floor(repackMost))], signal);
  }

  /** Its structure, and one part of `parts` of its data read back whole. */
  async check(part: number, parts: number, signal: AbortSignal): Promise<void> {
    await this.#alone(['check', `--read-data-subset=${part}/${parts}`], signal);
  }

  async sizeOf(id: string, signal: AbortSignal): Promise<number> {
    const said = await this.#run(['stats', id, '--mode', 'restore-size', '--json'], { signal });
    return Size.parse(JSON.parse(said)).total_size;
  }

  /** All that is in it below that path, one by one. */
  async list(
    id: string,
    path: string,
    onNode: (path: string, type: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const onLine = (line: string): void => {
      const node = parsed(Node, line);
      if (node) onNode(node.path, node.type);
    };
    await this.#run(['ls', '--json', '--recursive', id, path], { signal, onLine });
  }

  /** One file of it. */
  dump(id: string, path: string, signal: AbortSignal): Promise<string> {
    return this.#run(['dump', id, path], { signal });
  }

  /** Into that folder, and read again there. `only`: one path of it. */
  async restore(id: string, target: string, signal: AbortSignal, only?: string): Promise<void> {
    const part = only === undefined ? [] : ['--include', only];
    await this.#run(['restore', id, '--target', target, ...part, '--verify'], { signal });
  }

  /** Of one that was killed the lock stays, and the repository is needed alone. What lives keeps its lock. */
  async #alone(args: readonly string[], signal: AbortSignal): Promise<string> {
    try {
      return await this.#run(args, { signal });
    } catch (error) {
      if (!/lock/i.test(sentenceOf(error))) throw error;
      await this.#run(['unlock'], { signal });
      return this.#run(args, { signal });
    }
  }

  #run(args: readonly string[], how: How): Promise<string> {
    const { target } = this.#repository;
    const at = (reached: Reached): Promise<string> => this.#runAt(reached, args, how);
    return typeof target === 'string' ? at({ target }) : target(at);
  }

  async #runAt(
    { target, trouble }: Reached,
    args: readonly string[],
    { signal, cwd, onLine, around = [] }: How,
  ): Promise<string> {
    if (findProgram('restic', toolEnv.PATH) === null)
      throw problem('restic is not installed on this machine', 'install it: apt install restic');
    // An agent that is killed takes it along: the next one would find it writing where it begins anew.
    const tied = findProgram('setpriv', toolEnv.PATH) === null ? [] : ['setpriv', '--pdeathsig', 'INT', '--'];
    const [file, ...words] = [...around, ...tied, 'restic', ...args] as [string, ...string[]];
    const child = spawnClean(file, words, {
      ...(cwd !== undefined && { cwd }),
      env: this.#env(target),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const ending = trouble === undefined ? signal : AbortSignal.any([signal, trouble]);
    return await ended(child, args[0] as string, { signal: ending, ...(onLine && { onLine }) }).catch(
      (error: unknown) => {
        throw trouble?.aborted && !signal.aborted ? trouble.reason : error;
      },
    );
  }

  #env(target: string): NodeJS.ProcessEnv {
    const { password, credentials } = this.#repository;
    const { PATH, HOME, TMPDIR, LC_ALL } = toolEnv as NodeJS.ProcessEnv;
    return {
      ...credentials,
      ...{ PATH, HOME, LC_ALL },
      ...(TMPDIR !== undefined && { TMPDIR }),
      RESTIC_REPOSITORY: target,
      RESTIC_PASSWORD: password,
      RESTIC_CACHE_DIR: this.#cache,
      RESTIC_PROGRESS_FPS: '2',
    };
  }
}

const problem = (sentence: string, fix: string): AutogitError => new AutogitError('backup', sentence, { hint: fix });

function parsed<S extends z.ZodType>(schema: S, line: string): z.output<S> | null {
  if (!line.startsWith('{')) return null;
  try {
    return schema.safeParse(JSON.parse(line)).data ?? null;
  } catch {
    return null;
  }
}

const outMost = 4 << 20;

/** What it wrote; lines that somebody takes are not kept. Every failure of restic's is exit code 1, so its words are the cause. */
async function ended(
  child: ChildProcess,
  what: string,
  { signal, onLine }: Pick<How, 'signal' | 'onLine'>,
): Promise<string> {
  let [out, said, isSilent, still] = ['', '', false, 0];
  const life = new SignOfLife();
  const { silentMs } = resticTimings;
  const looking = setInterval(() => {
    still = life.isRead(bytesReadBy(child.pid)) ? 0 : still + 1;
    if (still < looksMost) return;
    isSilent = true;
    end();
  }, silentMs / looksMost);
  let kill: NodeJS.Timeout | undefined;
  const end = (): void => {
    child.kill('SIGINT');
    kill ??= setTimeout(() => child.kill('SIGKILL'), endMs);
  };
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  createInterface({ input: child.stdout as Readable }).on('line', (line) => {
    if (life.isIn(line)) still = 0;
    if (onLine) onLine(line);
    else if (out.length < outMost) out += `${line}\n`;
  });
  child.stderr?.on('data', (data) => {
    still = 0;
    said = `${said}${data}`.slice(-saidMost);
  });
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    if (signal.aborted) throw new DOMException('the agent ends', 'AbortError');
    if (isSilent)
      throw problem(
        `restic ${what} has done nothing for ${span(silentMs)}`,
        'see whether the place of the backups answers: its disk, or its network',
      );
    if (code === 0) return out;
    throw new AutogitError('backup', `restic ${what} failed: ${words(said)}`);
  } finally {
    clearInterval(looking);
    clearTimeout(kill);
    signal.removeEventListener('abort', end);
  }
}

/** A cause may stand before a Go stack of some kilobytes. */
const saidMost = 16_384;
/** Of such a stack: a function, where it stands, who called it. */
const ofStack = /^(created by |goroutine \d|\S+\.go:\d+|[\w./-]+(\.\([*\w]+\))?\.[\w.]+(\(.*\))?$|\S+\/\S+\.\S+$)/;

const words = (said: string): string =>
  said
    .split('\n')
    .map((line) => shown(line).trim())
    .filter((line) => line !== '' && !ofStack.test(line) && !/^repository .* opened/.test(line))
    .slice(-3)
    .join('; ')
    .slice(0, 400);

import { Worker } from 'node:worker_threads';
import { spawnClean } from '../clean-spawn.ts';
import { membersOf } from '../executors/run-members.ts';
import type { ProcessName, RunMarks } from '../executors/run-processes.ts';
import { type Child, FarChild } from './far-child.ts';
import type { FromStarter, StartOptions, ToStarter } from './starter-messages.ts';

declare const __STARTER_THREAD__: string | undefined;
/** The thread's own program, as deploy/bundle.mjs built it; where the agent runs from its sources there is none. */
const program: string | null = typeof __STARTER_THREAD__ === 'string' ? __STARTER_THREAD__ : null;
/** A thread that has nothing to start or to wait for goes after so long: only a node that runs jobs has its memory. */
const restMs = 60_000;

interface Look {
  found: (members: { pid: number }[]) => void;
  failed: (error: Error) => void;
  /** Where the thread is lost. */
  again: () => { pid: number }[];
}

/** Starts children in a thread of its own, which lives as long as one of them does. */
class Starter {
  readonly #children = new Map<number, FarChild>();
  readonly #looks = new Map<number, Look>();
  #worker: Worker | null = null;
  #rest: NodeJS.Timeout | null = null;
  #last = 0;
  #references = 0;

  start(file: string, args: readonly string[], options: StartOptions): Child {
    const worker = this.#awake();
    this.#last += 1;
    const id = this.#last;
    const say = (message: ToStarter): void => worker.postMessage(message);
    const child = new FarChild(id, options.stdio, say, (isReferenced) => this.#refer(isReferenced));
    this.#children.set(id, child);
    this.#refer(true);
    const over = (): void => {
      this.#children.delete(id);
      this.#restLater();
    };
    child.once('close', over);
    child.once('error', over);
    say({ kind: 'start', id, file, args, options: { ...options, env: { ...(options.env ?? process.env) } } });
    return child;
  }

  members(marks: RunMarks, cgroup: string | null, seen: readonly ProcessName[]): Promise<{ pid: number }[]> {
    const worker = this.#awake();
    this.#last += 1;
    const id = this.#last;
    this.#refer(true);
    return new Promise<{ pid: number }[]>((done, failed) => {
      this.#looks.set(id, { found: done, failed, again: () => membersOf(marks, cgroup, seen) });
      worker.postMessage({ kind: 'look', id, marks, cgroup, seen } satisfies ToStarter);
    }).finally(() => {
      this.#looks.delete(id);
      this.#refer(false);
      this.#restLater();
    });
  }

  #awake(): Worker {
    if (this.#rest !== null) clearTimeout(this.#rest);
    this.#rest = null;
    if (this.#worker !== null) return this.#worker;
    const worker = new Worker(program as string, {
      eval: true,
      env: { PATH: process.env.PATH },
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 1 },
    });
    this.#worker = worker;
    worker.on('message', (message: FromStarter) => {
      if (message.kind === 'found') {
        const look = this.#looks.get(message.id);
        if (message.error === undefined) look?.found(message.members);
        else look?.failed(new Error(message.error));
      } else this.#children.get(message.id)?.take(message);
    });
    worker.on('error', (error) => this.#lose(worker, error));
    worker.on('exit', () => this.#lose(worker, new Error('the thread that starts programs ended')));
    return worker;
  }

  #lose(worker: Worker, because: Error): void {
    if (this.#worker !== worker) return;
    this.#worker = null;
    for (const child of [...this.#children.values()]) child.lose(because);
    for (const { found, failed, again } of [...this.#looks.values()]) {
      try {
        found(again());
      } catch (error) {
        failed(error as Error);
      }
    }
  }

  #refer(isReferenced: boolean): void {
    this.#references += isReferenced ? 1 : -1;
    if (isReferenced && this.#references === 1) this.#worker?.ref();
    if (this.#references === 0) this.#worker?.unref();
  }

  #restLater(): void {
    if (this.#children.size + this.#looks.size > 0 || this.#worker === null) return;
    if (this.#rest !== null) clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      const worker = this.#worker;
      this.#worker = null;
      void worker?.terminate();
    }, restMs).unref();
  }
}

const starter = new Starter();

type AsideOptions = Omit<StartOptions, 'stdio'> & { stdio: 'ignore' | StartOptions['stdio'] };

/**
 * As `spawnClean`, but the agent's event loop does not stand while the child is made: it has its pid, and descriptors of
 * `stdio` may be closed, once it emits `spawn`.
 */
export function spawnAside(file: string, args: readonly string[], options: AsideOptions): Child {
  if (program === null) return spawnClean(file, args, options);
  const { stdio } = options;
  return starter.start(file, args, { ...options, stdio: stdio === 'ignore' ? [stdio, stdio, stdio] : stdio });
}

/** As `membersOf`, without the agent's event loop. */
export const membersAside = async (
  marks: RunMarks,
  cgroup: string | null,
  seen: readonly ProcessName[] = [],
): Promise<{ pid: number }[]> =>
  program === null ? membersOf(marks, cgroup, seen) : starter.members(marks, cgroup, seen);

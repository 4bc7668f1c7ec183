import type { ChildProcess } from 'node:child_process';
import { spawnClean } from '../clean-spawn.ts';
import { membersOf } from '../executors/run-members.ts';
import type { ProcessName, RunMarks } from '../executors/run-processes.ts';
import { spawnWithFiles } from './child-files.ts';
import { openInput, openOutput } from './child-line.ts';
import { type Child, FarChild } from './far-child.ts';
import type { FromStarter, StartOptions, ToStarter } from './starter-messages.ts';

declare const __STARTER_PROGRAM__: string | undefined;
/** The starter's own program, as deploy/bundle.mjs built it; where the agent runs from its sources there is none. */
const program: string | null = typeof __STARTER_PROGRAM__ === 'string' ? __STARTER_PROGRAM__ : null;
/** It runs what it is sent first. */
const waiting = "process.once('message', (program) => new Function('require', program)(require))";
/** A starter that has nothing to start or to wait for goes after so long: only a node that runs jobs has its memory. */
const restMs = 60_000;

interface Look {
  found: (members: { pid: number }[]) => void;
  failed: (error: Error) => void;
  /** Where the starter is lost. */
  again: () => { pid: number }[];
}

/** Starts children in a process of its own, which lives as long as one of them does. */
class Starter {
  readonly #children = new Map<number, FarChild>();
  readonly #looks = new Map<number, Look>();
  #process: ChildProcess | null = null;
  #rest: NodeJS.Timeout | null = null;
  #last = 0;
  #references = 0;

  start(file: string, args: readonly string[], options: StartOptions): Child {
    const starter = this.#awake();
    this.#last += 1;
    const id = this.#last;
    const say = (message: ToStarter): void => tell(starter, message);
    const lines = [
      options.stdio[0] === 'line' ? openInput() : null,
      options.stdio[1] === 'line' ? openOutput() : null,
    ] as const;
    const pathOf = (index: number) => lines[index]?.path;
    const stdio = options.stdio.map((one, index) => {
      const line = pathOf(index);
      return one !== 'line' ? one : line === undefined ? 'pipe' : { line };
    });
    const streams = stdio.map((one, index) => lines[index]?.stream ?? one);
    const child = new FarChild(id, streams, say, (isReferenced) => this.#refer(isReferenced));
    this.#children.set(id, child);
    this.#refer(true);
    const over = (): void => {
      for (const line of lines) line?.leave();
      this.#children.delete(id);
      this.#restLater();
    };
    child.once('close', over);
    child.once('error', over);
    say({ kind: 'start', id, file, args, options: { ...options, stdio, env: { ...(options.env ?? process.env) } } });
    return child;
  }

  members(marks: RunMarks, cgroup: string | null, seen: readonly ProcessName[]): Promise<{ pid: number }[]> {
    const starter = this.#awake();
    this.#last += 1;
    const id = this.#last;
    this.#refer(true);
    return new Promise<{ pid: number }[]>((done, failed) => {
      this.#looks.set(id, { found: done, failed, again: () => membersOf(marks, cgroup, seen) });
      tell(starter, { kind: 'look', id, marks, cgroup, seen });
    }).finally(() => {
      this.#looks.delete(id);
      this.#refer(false);
      this.#restLater();
    });
  }

  #awake(): ChildProcess {
    if (this.#rest !== null) clearTimeout(this.#rest);
    this.#rest = null;
    if (this.#process !== null) return this.#process;
    // Little memory, most of it given back soon: it only hands on.
    const starter = spawnClean(
      process.execPath,
      ['--max-semi-space-size=1', '--max-old-space-size=64', '-e', waiting],
      {
        cwd: '/',
        env: { PATH: process.env.PATH },
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
        serialization: 'advanced',
      },
    );
    this.#process = starter;
    starter.on('message', (message: FromStarter) => {
      if (message.kind === 'found') {
        const look = this.#looks.get(message.id);
        if (message.error === undefined) look?.found(message.members);
        else look?.failed(new Error(message.error));
      } else this.#children.get(message.id)?.take(message);
    });
    starter.on('error', (error) => this.#lose(starter, error));
    starter.on('exit', () => this.#lose(starter, new Error('the process that starts programs ended')));
    tell(starter, program as string);
    this.#referTo(starter);
    return starter;
  }

  #lose(starter: ChildProcess, because: Error): void {
    if (this.#process !== starter) return;
    this.#process = null;
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
    if (this.#process !== null && this.#references <= 1) this.#referTo(this.#process);
  }

  #referTo(starter: ChildProcess): void {
    if (this.#references > 0) {
      starter.ref();
      starter.channel?.ref();
    } else {
      starter.unref();
      starter.channel?.unref();
    }
  }

  #restLater(): void {
    if (this.#children.size + this.#looks.size > 0 || this.#process === null) return;
    if (this.#rest !== null) clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      const starter = this.#process;
      this.#process = null;
      if (starter?.connected) starter.disconnect();
    }, restMs).unref();
  }
}

/** What cannot be sent is told by the starter's end. */
function tell(starter: ChildProcess, message: ToStarter | string): void {
  if (starter.connected) starter.send(message, () => undefined);
}

const starter = new Starter();

/** `env` is always said: what the agent was started with, secrets among it, is no child's. */
type AsideOptions = Omit<StartOptions, 'stdio' | 'env'> & {
  stdio: 'ignore' | StartOptions['stdio'];
  env: NodeJS.ProcessEnv;
};

/** As `spawnClean`, but the agent's event loop does not stand while the child is made: it has its pid once it emits `spawn`. */
export function spawnAside(file: string, args: readonly string[], options: AsideOptions): Child {
  const { stdio } = options;
  const whole: StartOptions = { ...options, stdio: stdio === 'ignore' ? [stdio, stdio, stdio] : stdio };
  return program === null ? spawnWithFiles(file, args, whole) : starter.start(file, args, whole);
}

/** As `membersOf`, without the agent's event loop. */
export const membersAside = async (
  marks: RunMarks,
  cgroup: string | null,
  seen: readonly ProcessName[] = [],
): Promise<{ pid: number }[]> =>
  program === null ? membersOf(marks, cgroup, seen) : starter.members(marks, cgroup, seen);

import type { CleanSpawnOptions } from '../clean-spawn.ts';
import type { ProcessName, RunMarks } from '../executors/run-processes.ts';

/** A file that stands there: a descriptor cannot go over to another process, its name can. The same one twice is opened once. */
export interface ChildFile {
  path: string;
  /** At its end, whoever else writes to it, or from its start. Neither makes a file. */
  how: 'append' | 'write';
}

/** A socket of the agent, on which it waits for one caller. */
export interface ChildLine {
  line: string;
}

/** What a child is started with by the starter: what can go over to it. */
export interface StartOptions
  extends Pick<CleanSpawnOptions, 'cwd' | 'env' | 'uid' | 'gid' | 'detached' | 'isFirstToGo'> {
  /** `line`, of standard input and output alone: as `pipe`, but its bytes go between child and agent by a socket of their own. For gigabytes. */
  stdio: ('ignore' | 'pipe' | 'line' | ChildFile | ChildLine)[];
}

/** Which output of a child: its descriptor. */
export type OutputFd = 1 | 2;

/** How many chunks of an output are on their way at once, and after how many taken ones the starter hears of it. */
export const chunksAhead = 8;
export const chunksTaken = 4;

export type ToStarter =
  | { kind: 'start'; id: number; file: string; args: readonly string[]; options: StartOptions }
  | { kind: 'taken'; id: number; output: OutputFd; count: number }
  | { kind: 'unwanted'; id: number; output: OutputFd }
  /** Null: the end of its input. */
  | { kind: 'write'; id: number; bytes: Uint8Array | null }
  | { kind: 'kill'; id: number; signal: NodeJS.Signals }
  | { kind: 'look'; id: number; marks: RunMarks; cgroup: string | null; seen: readonly ProcessName[] };

export type FromStarter =
  | { kind: 'started'; id: number; pid: number }
  | { kind: 'failed'; id: number; message: string; code: string | undefined }
  /** Null: the end of that output. */
  | { kind: 'output'; id: number; output: OutputFd; bytes: Uint8Array | null }
  | { kind: 'written'; id: number; error: { message: string; code: string } | null }
  | { kind: 'exited'; id: number; code: number | null; signal: NodeJS.Signals | null }
  | { kind: 'found'; id: number; members: { pid: number }[]; error?: string };

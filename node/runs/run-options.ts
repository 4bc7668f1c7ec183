import { join } from 'node:path';
import type { NodeId } from '../../protocol/ids.ts';
import type { Run } from '../../protocol/ledger.ts';
import type { Gpu } from '../../protocol/report.ts';
import type { Log } from '../log.ts';
import type { Executor, ExecutorSpec, GpuSuspender, Store } from '../ports.ts';
import type { CachesElsewhere } from './cache/caches-elsewhere.ts';
import type { GitlabReturn } from './gitlab-return.ts';

/** What the supervisor, and every run that it looks after, needs of this node. */
export interface RunOptions {
  /** Says when a GitLab that was away answers again. */
  gitlabReturn?: GitlabReturn;
  self: NodeId;
  nodeName: string;
  version: string;
  /** GitLab tells machines that share a token apart by it, at most 64 characters. */
  systemId: string;
  store: Pick<Store, 'putRun' | 'deleteRun' | 'runs'>;
  /** Those that work here; the first is the default. */
  executors: Executor[];
  /** One that is not switched on any more, to end what it began before. */
  retired?(kind: string): Executor | null;
  gitlabUrl(): string | null;
  seal(text: string): string;
  unseal(sealed: string): string;
  instance(): { uuid: string | null; epoch: number };
  clock: { bootMs(): number; wallMs(): number };
  /**
   * Boot ms of the last leader's word by which a run may go on (SAFETY J1); -Infinity when there was none that counts. While it is
   * silent a former try of a job may still live elsewhere: a run's first step begins later.
   */
  leaderContactAt(): number;
  gpusByUuid(uuids: string[]): Gpu[];
  limitsFor(tags: string[]): Pick<ExecutorSpec, 'cpuMillis' | 'memoryBytes' | 'isolation'>;
  onRunChanged(run: Run): void;
  /** Whether the disk was full at some time since then (boot ms). */
  diskWasFull?(sinceBootMs: number): boolean;
  /** A result that GitLab did not take in its time, in a sentence. */
  onGivenUp?(sentence: string): void;
  /** Why a job would find no room to write here; none is taken then. */
  noRoom?(): string | null;
  /**
   * Resolves when a watchdog has read of the run (SAFETY J1): before that no step of it may begin. `isNew`: of its place as it is now,
   * whatever was read before. Throws when none does.
   */
  watched?(run: string, signal: AbortSignal, isNew?: boolean): Promise<void>;
  /** How a run's GPU memory is freed for the owner; absent: it is not. */
  gpuSuspender?: GpuSuspender | undefined;
  log: Pick<Log, 'info' | 'warn' | 'error'>;
  /** Largest sum of the files of one artifact; a default when it is not set. */
  artifactLimitBytes?: number | undefined;
  /** What the caches of jobs may take here; a default when it is not set, 0: none are kept. */
  cacheLimitBytes?: number | undefined;
  /** Caches that other machines of the mesh keep; absent: they are not asked. */
  elsewhere?: CachesElsewhere;
  /** The agent's home: traces lie in its folder `runs`, Git mirrors in `mirrors`, caches in `caches`. */
  home: string;
}

/** The agent's own folder for a run; the executor has another one. */
export const runFolder = (home: string, run: string): string => join(home, 'runs', run.replace(/[^A-Za-z0-9_-]/g, '_'));

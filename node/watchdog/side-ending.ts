import { setTimeout as sleep } from 'node:timers/promises';
import { signalAll, terminate } from '../executors/run-processes.ts';

interface SideEnd {
  /** The pids of those that have not done it yet. */
  left(): number[];
  /** By what they are asked first, and for how long, in ms. */
  signal: 'SIGTERM' | 'SIGUSR2';
  politeMs: number;
  /** What stands still is killed then. */
  onKill?: (pids: readonly number[]) => void;
}

const lookMs = 10;

/** Asks side programs of ours to end, or to let go, and kills who does not in time. Throws where one outlives that by 5 s. */
export async function endSidePrograms(what: string, { left, signal, politeMs, onKill }: SideEnd): Promise<void> {
  const list = (): { pid: number }[] => left().map((pid) => ({ pid }));
  if (signalAll(list(), signal) === 0) return;
  for (const until = performance.now() + politeMs; performance.now() < until; await sleep(lookMs))
    if (left().length === 0) return;
  onKill?.(left());
  await terminate(list);
  const pids = left().join(',');
  if (pids !== '')
    throw new Error(
      `${what} (process ${pids}) does not end, even by SIGKILL: it waits in the kernel, mostly for a disk (ps -o pid,stat,wchan -p ${pids} says for what), and a restart of this machine ends it`,
    );
}

import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { fieldsOfStat } from '../../node/machine/processes.ts';
import { until } from '../e2e/rig.ts';

export interface MachineProcess {
  readonly pid: number;
  readonly parent: number;
  readonly command: readonly string[];
  /** As the kernel has it: `T` stopped, `D` waiting for a disk or frozen with its control group. */
  readonly state: string;
}

/** A process with the network namespace it is in; null when it has just ended, or is dead and not yet buried. */
function look(pid: number): (MachineProcess & { network: string }) | null {
  try {
    const [state = '', parent = ''] = fieldsOfStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
    const network = readlinkSync(`/proc/${pid}/ns/net`);
    return state === 'Z' ? null : { pid, parent: Number(parent), command, state, network };
  } catch {
    return null;
  }
}

/**
 * All processes of a machine in miniature: those in its network namespace, and all their descendants, which are what
 * runs in its containers. Asked of the kernel each time, so that it holds also when the lab itself was killed.
 */
export function processesOf(namespace: string): MachineProcess[] {
  let own: string;
  try {
    own = `net:[${statSync(`/var/run/netns/${namespace}`).ino}]`;
  } catch {
    return [];
  }
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => look(Number(name)) ?? []);
  const found = new Set(all.filter((process) => process.network === own).map(({ pid }) => pid));
  for (let before = -1; before !== found.size; ) {
    before = found.size;
    for (const { pid, parent } of all) if (found.has(parent)) found.add(pid);
  }
  return all.filter(({ pid }) => found.has(pid));
}

export function signalTo(processes: readonly MachineProcess[], signal: NodeJS.Signals): void {
  for (const { pid } of processes)
    try {
      process.kill(pid, signal);
    } catch {
      // It has ended by itself.
    }
}

/** kill -9 of everything that `select` finds, again and again until it finds nothing: some may just be forking. */
export async function killAll(name: string, select: () => MachineProcess[]): Promise<void> {
  await until(`${name} is dead`, () => {
    const left = select();
    signalTo(left, 'SIGKILL');
    return left.length === 0;
  });
}

/** Stops all processes of a machine; resolves with their number when the kernel says that they stand still. */
export async function stopAll(namespace: string): Promise<number> {
  let told = new Set<number>();
  return until(`all of ${namespace} stands still`, () => {
    const all = processesOf(namespace);
    const moving = all.filter(({ state }) => state !== 'T');
    signalTo(moving, 'SIGSTOP');
    // What a watchdog has frozen stands still already, and stops when it is thawed.
    const isDone = moving.every(({ pid, state }) => state === 'D' && told.has(pid));
    told = new Set(all.map(({ pid }) => pid));
    return isDone ? all.length : null;
  });
}

export async function continueAll(namespace: string): Promise<number> {
  return until(`all of ${namespace} goes on`, () => {
    const all = processesOf(namespace);
    signalTo(all, 'SIGCONT');
    return all.some(({ state }) => state === 'T') ? null : all.length;
  });
}

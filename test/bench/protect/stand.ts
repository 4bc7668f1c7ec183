import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { RoundTaker, Standby } from '../../../node/hosting/replica/replica-ports.ts';
import { openCopyDoor } from '../../../node/hosting/wire/copy-door.ts';
import { CopyLine } from '../../../node/hosting/wire/copy-line.ts';
import { Turns } from '../../../node/hosting/wire/turns.ts';
import { Machine, ownFolder, putAway } from '../../hosting/stand/machine.ts';
import { hostingPrograms } from '../../hosting/stand/programs.ts';
import { install } from '../debian.ts';

/** A host and its standbys as images of so many bytes, put away whatever happens. */
export async function withStand<T>(
  names: readonly string[],
  bytes: number,
  use: (host: Machine, standbys: Machine[], folder: string) => Promise<T>,
): Promise<T> {
  install({ ...hostingPrograms, restic: 'restic' });
  const folder = ownFolder('disk');
  const machines: Machine[] = [];
  try {
    for (const name of ['host', ...names]) machines.push(await Machine.make(name, folder, bytes));
    const [host, ...standbys] = machines as [Machine, ...Machine[]];
    return await use(host, standbys, folder);
  } finally {
    await putAway(machines, folder);
  }
}

/** Standbys behind the product's own connection, on this computer. `hold`: what each of their answers waits for. */
export function overTheWire(hold: () => Promise<void> = async () => {}): {
  standbyOf(machine: Machine): Standby;
  close(): void;
} {
  const over = new AbortController();
  const turns = new Turns();
  const lines: CopyLine[] = [];
  return {
    standbyOf: (machine) => {
      const { standby } = machine;
      const taker: RoundTaker = {
        held: async (part) => {
          await hold();
          return standby.held(part);
        },
        take: async (round, source, pins) => {
          await hold();
          await standby.take(round, source, { pins, urgency: 'round', told: () => undefined, signal: over.signal });
        },
      };
      const door = async () => ({ ...(await openCopyDoor(taker, over.signal)), host: '127.0.0.1' });
      const line = new CopyLine(machine.name, door, turns);
      lines.push(line);
      return line;
    },
    close: () => {
      for (const line of lines) line.close();
      over.abort();
    },
  };
}

/** A program of PostgreSQL's that Debian keeps out of the PATH. */
export function postgresProgram(name: string): string {
  const [newest] = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a));
  return join('/usr/lib/postgresql', newest as string, 'bin', name);
}

/** ms that a command of the shell takes, which must end well. */
export function took(command: string, env: Record<string, string> = {}): number {
  const began = performance.now();
  execFileSync('bash', ['-o', 'pipefail', '-ec', command], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
    maxBuffer: 64 << 20,
  });
  return performance.now() - began;
}

/** A restic repository of the bench's, and what it is opened with. */
export function resticIn(folder: string): Record<string, string> {
  const env = {
    RESTIC_REPOSITORY: join(folder, 'restic'),
    RESTIC_PASSWORD: 'of the bench',
    RESTIC_CACHE_DIR: join(folder, 'restic-cache'),
  };
  took('restic init', env);
  return env;
}

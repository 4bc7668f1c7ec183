import { accessSync, constants } from 'node:fs';
import { spawnCleanSync } from '../clean-spawn.ts';

/**
 * Where no control group holds a run, its supervisor can: the kernel gives the orphans of a "child subreaper" to it rather
 * than to init, so that whatever a job starts stays among its descendants, with a new session and an empty environment
 * too. Neither Node nor bash can ask for that, and it outlives exec: so perl or python3 asks first, then becomes bash.
 * A job that kills its supervisor gets out of it.
 */
const askNumber = 36;
/** Of prctl(2), where perl must call it by number. */
const callNumbers: Partial<Record<NodeJS.Architecture, number>> = {
  x64: 157,
  arm64: 167,
  riscv64: 167,
  ia32: 172,
  arm: 172,
};

const python = `import ctypes, os, sys
ctypes.CDLL(None).prctl(${askNumber}, 1, 0, 0, 0) == 0 or sys.exit(1)
os.execvp(sys.argv[1], sys.argv[1:])`;

const ways = (): string[][] => {
  const call = callNumbers[process.arch];
  const perl = `syscall(${call}, ${askNumber}, 1, 0, 0, 0) == 0 or exit 1; exec @ARGV`;
  // The distribution's own: what a person put before it in PATH may do other things first.
  return [...(call === undefined ? [] : [['/usr/bin/perl', '-e', perl]]), ['/usr/bin/python3', '-I', '-c', python]];
};

let found: string[] | null | undefined;

/** Words to put before a program that shall hold its orphans; null where none of them works here. Looked for once. */
export function orphanHolder(): string[] | null {
  found ??= ways().find((words) => works(words)) ?? null;
  return found;
}

function works([program = '', ...args]: string[]): boolean {
  try {
    accessSync(program, constants.X_OK);
    accessSync(`/proc/${process.pid}/task/${process.pid}/children`, constants.R_OK);
  } catch {
    return false;
  }
  const { status } = spawnCleanSync(program, [...args, '/bin/sh', '-c', 'exit 7'], { timeout: 5000 });
  return status === 7;
}

import type { ChildProcess } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import type { Socket } from 'node:net';
import { spawnClean } from '../clean-spawn.ts';
import type { ChildFile, StartOptions } from './starter-messages.ts';

const flagsOf = {
  append: constants.O_WRONLY | constants.O_APPEND,
  write: constants.O_WRONLY,
} as const satisfies Record<ChildFile['how'], number>;

/**
 * As `spawnClean`, with files opened here for the child. Throws where one of them cannot be opened. `lines`: by their paths what its input
 * or output goes by where it has a line of its own; without one it is a pipe as any other.
 */
export function spawnWithFiles(
  file: string,
  args: readonly string[],
  options: StartOptions,
  lines: ReadonlyMap<string, Socket> = new Map(),
): ChildProcess {
  const open = new Map<string, number>();
  const descriptorOf = ({ path, how }: ChildFile): number => {
    const key = `${how} ${path}`;
    const descriptor = open.get(key) ?? openSync(path, flagsOf[how]);
    open.set(key, descriptor);
    return descriptor;
  };
  try {
    const stdio = options.stdio.map((one) => {
      if (one === 'line') return 'pipe';
      if (typeof one === 'object' && 'line' in one) return lines.get(one.line) ?? 'pipe';
      return typeof one === 'string' ? one : descriptorOf(one);
    });
    return spawnClean(file, args, { ...options, stdio });
  } finally {
    // The child has them by now, or never will.
    for (const descriptor of open.values()) closeSync(descriptor);
  }
}

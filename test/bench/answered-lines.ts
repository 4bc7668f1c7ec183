import { existsSync, readFileSync } from 'node:fs';

/** What a probe has answered so far, a line each; one that it is writing at this moment is none yet. */
export function answeredLines(file: string): string[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8').split('\n').slice(0, -1);
}

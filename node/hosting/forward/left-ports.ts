import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { replaceFile, systemTools } from '../system-tools.ts';
import type { LeftPorts } from './forward-plan.ts';

/** What is remembered over a boot: which of GitLab's ports other programs of this machine have. */
const LeftFile = z.object({
  bootId: z.string().max(64),
  ports: z.array(z.object({ port: z.int().min(1).max(65_535), takenAt: z.number().nonnegative() })).max(16),
});

const leftFile = (home: string): string => join(home, 'forward-left.json');

/** Null also where it makes no sense: then ports are tried, and found taken. */
export function readLeft(home: string): LeftPorts | null {
  try {
    return LeftFile.parse(JSON.parse(readFileSync(leftFile(home), 'utf8')));
  } catch {
    return null;
  }
}

/** A full disk costs what is remembered over the next boot, and nothing else. */
export const writeLeft = (home: string, left: LeftPorts): Promise<void> =>
  replaceFile(leftFile(home), JSON.stringify(left), systemTools).catch(() => undefined);

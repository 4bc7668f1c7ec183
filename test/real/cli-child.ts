import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const bin = join(root, 'dist', 'autogit-node.cjs');

/** A clean environment: what the developer has set must not decide a test. */
export const cleanEnv = (home: string, more: Record<string, string> = {}): Record<string, string> => ({
  PATH: process.env.PATH ?? '',
  HOME: home,
  ...more,
});

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** One command of the built program, to its end. */
export function runCli(args: string[], env: Record<string, string>): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [bin, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data) => (stdout += data));
    child.stderr.on('data', (data) => (stderr += data));
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}

/** One error with its fix, that code, and nothing else. The home that was typed is in the fix, or it is asked for help. */
export const failing = (code: number, sentence: RegExp, fix: RegExp) => (ended: Ended) => {
  const stderr = ended.stderr.replace(/\bautogit-node --home \S+ (?!.*--help)/g, 'autogit-node ');
  expect(stderr).toMatch(new RegExp(`^error: .*${sentence.source}.*\nfix: .*${fix.source}`));
  expect(ended.stderr.match(/^error:/gm)).toHaveLength(1);
  expect(ended.stderr).not.toContain('    at ');
  expect(ended.stdout).toBe('');
  expect(ended.code).toBe(code);
};

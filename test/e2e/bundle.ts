import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const lock = join(root, '.tmp', 'bundle-lock');
const note = join(root, '.tmp', 'bundled');
const inputs = [
  'node',
  'protocol',
  'scheduler',
  'gitlab-bridge',
  'deploy',
  'docs',
  'package.json',
  'package-lock.json',
];

const look = (file: string): string => {
  const { mtimeMs, size } = statSync(join(root, file), { throwIfNoEntry: false }) ?? { mtimeMs: 0, size: 0 };
  return `${file} ${mtimeMs} ${size}`;
};

/** What it is made of, and what was made, by name, time and size. */
function seen(): string {
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '--', ...inputs], {
    cwd: root,
    encoding: 'utf8',
  });
  const all = [...files.split('\n'), 'dist/agent.cjs', 'dist/autogit-node.cjs'].map(look);
  return createHash('sha256').update(all.join('\n')).digest('hex');
}

const kept = (file: string): string => {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
};

const isAlive = (pid: number): boolean => {
  try {
    return pid > 0 && process.kill(pid, 0);
  } catch {
    return false;
  }
};

/** One at a time: a file that is built anew under an agent that starts from it is read by half. */
function withLock(work: () => void): void {
  mkdirSync(join(root, '.tmp'), { recursive: true });
  for (;;) {
    try {
      writeFileSync(lock, `${process.pid}`, { flag: 'wx' });
      break;
    } catch {
      const owner = kept(lock);
      // Empty: whoever has just made it has not written yet.
      if (owner !== '' && !isAlive(Number(owner))) rmSync(lock, { force: true });
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
    }
  }
  try {
    work();
  } finally {
    rmSync(lock, { force: true });
  }
}

/** Tests of commands and of machines run what is published, not the sources: built once for all of them, and anew when something has changed. */
export default function setUpBundle(): void {
  withLock(() => {
    if (kept(note) === seen()) return;
    execFileSync(process.execPath, ['deploy/bundle.mjs'], { cwd: root, stdio: 'inherit' });
    writeFileSync(note, seen());
  });
}

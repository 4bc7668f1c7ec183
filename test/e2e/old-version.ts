import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** By git, not by this file's place: the bench is bundled into a folder of its own below it. */
const here = dirname(fileURLToPath(import.meta.url));

/**
 * Builds the program of an earlier commit into `folder`, with the packages that it pinned (today's may lack some), and
 * returns its file. Needs the history: a shallow clone fails with git's own words.
 */
export function oldVersion(commit: string, folder: string): string {
  const root = execFileSync('git', ['rev-parse', '--show-toplevel'], { cwd: here, encoding: 'utf8' }).trim();
  mkdirSync(folder, { recursive: true });
  const tree = execFileSync('git', ['archive', '--format=tar', commit], { cwd: root, maxBuffer: 256 << 20 });
  execFileSync('tar', ['-x', '-C', folder], { input: tree });
  execFileSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder, stdio: 'pipe' });
  execFileSync(process.execPath, ['deploy/bundle.mjs'], { cwd: folder, stdio: 'pipe' });
  return join(folder, 'dist', 'autogit-node.cjs');
}

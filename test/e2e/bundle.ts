import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Global setup: the end-to-end tests run what is published, not the sources. */
export default function setup(): void {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  execFileSync(process.execPath, ['deploy/bundle.mjs'], { cwd: root, stdio: 'inherit' });
}

// npm run lab: bundles the lab (and, for `up`, the agent that it runs), then does one command of it. Needs root.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
if (process.argv[2] === 'up')
  execFileSync(process.execPath, [join(root, 'deploy', 'bundle.mjs')], { stdio: 'inherit' });
const outfile = join(root, '.tmp', 'lab', `main-${process.pid}.mjs`);
await build({
  absWorkingDir: root,
  entryPoints: ['test/lab/main.ts'],
  outfile,
  bundle: true,
  packages: 'external',
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  logLevel: 'warning',
});
process.on('exit', () => rmSync(outfile, { force: true }));
await import(pathToFileURL(outfile).href);

// npm run lab: bundles the lab (and, for `up` and `hosting`, the agent that it runs), then does one command of it. Needs root.
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
if (['up', 'hosting'].includes(process.argv[2]))
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
  plugins: [
    {
      // It reads files that lie beside it.
      name: 'where-the-stand-in-lies',
      setup: ({ onLoad }) =>
        onLoad({ filter: /stand-in-image\.ts$/ }, ({ path }) => ({
          contents: readFileSync(path, 'utf8').replace('import.meta.url', JSON.stringify(pathToFileURL(path).href)),
          loader: 'ts',
        })),
    },
  ],
  logLevel: 'warning',
});
process.on('exit', () => rmSync(outfile, { force: true }));
await import(pathToFileURL(outfile).href);

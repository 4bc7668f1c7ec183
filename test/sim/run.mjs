// npm run sim -- --seeds 200 | --seed N --verbose | --for 10m | mutants | golden : bundles the simulation and runs it.
import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const parts = {
  mutants: 'test/sim/mutants/main.ts',
  golden: 'test/sim/golden/main.ts',
  copies: 'test/sim/copies/main.ts',
  'copies-mutants': 'test/sim/copies/hunt.ts',
};
const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const outfile = join(root, '.tmp', `sim-${process.pid}.mjs`);
mkdirSync(dirname(outfile), { recursive: true });
await build({
  absWorkingDir: root,
  entryPoints: [parts[process.argv[2]] ?? 'test/sim/main.ts'],
  external: ['esbuild'],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  logLevel: 'warning',
});
process.on('exit', () => rmSync(outfile, { force: true }));
process.chdir(root);
await import(pathToFileURL(outfile).href);

// npm run bench: bundles the agent and the bench, then runs the bench. Needs root (network namespaces).
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { leftOut } from '../../deploy/left-out.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
execFileSync(process.execPath, [join(root, 'deploy', 'bundle.mjs')], { stdio: 'inherit' });
// A copy of the agent: what is built here meanwhile must not change what is measured. rig.ts finds it as ../../dist.
mkdirSync(join(root, '.tmp'), { recursive: true });
const folder = mkdtempSync(join(root, '.tmp', 'bench-'));
cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true });
const outfile = join(folder, 'test', 'bench', 'main.mjs');
await build({
  entryPoints: [join(root, 'test/bench/main.ts')],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'esm',
  external: ['classic-level', 'esbuild', 'playwright-core', '*.node'],
  plugins: [
    leftOut,
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
  // What CommonJS packages expect to find in their module scope.
  banner: {
    js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);",
  },
  logLevel: 'warning',
});
// Ctrl-C reaches the bench too; it ends what it started, and then this ends.
process.on('SIGINT', () => {});
const probe = (name) => join(root, 'test/bench', name);
const env = { ...process.env };
for (const name of ['turn', 'beat', 'section']) env[`${name.toUpperCase()}_PROBE_CODE`] = probe(`${name}-probe.cjs`);
process.exitCode =
  spawnSync(process.execPath, [outfile, ...process.argv.slice(2)], { stdio: 'inherit', env }).status ?? 1;
rmSync(folder, { recursive: true, force: true });

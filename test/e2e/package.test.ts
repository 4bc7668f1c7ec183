import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'autogit-package-'));
const run = (file: string, args: string[], cwd: string): string =>
  execFileSync(file, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('what is published installs on its own and runs: one bundled file, and the native part beside it', () => {
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', folder], root)) as [
    { filename: string; files: { path: string }[] },
  ];
  const scripts = packed.files.map((file) => file.path).filter((path) => /\.[cm]?js$/.test(path));
  expect(scripts.sort()).toEqual(['dist/agent.cjs', 'dist/autogit-node.cjs']);
  writeFileSync(join(folder, 'package.json'), '{}');
  run('npm', ['install', '--no-audit', '--no-fund', `./${packed.filename}`], folder);
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  expect(run('npx', ['--no', '--', 'autogit-node', 'version'], folder).trim()).toBe(version);
  const home = join(folder, 'home');
  const { findings } = JSON.parse(
    run('sh', ['-c', `AUTOGIT_MDNS=off npx --no -- autogit-node --home ${home} doctor --json || true`], folder),
  ) as { findings: { what: string }[] };
  expect(findings.map(({ what }) => what)).toContain('store');
});

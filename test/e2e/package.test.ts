import { execFileSync, spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
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
  // What is committed, as npm has it after an install from git: dist/ is made by `prepare`.
  const source = join(folder, 'source');
  mkdirSync(source);
  run('sh', ['-c', `git ls-files -z -co --exclude-standard | xargs -0 cp --parents -t '${source}'`], root);
  // Where development packages were left out, an install does not fail.
  expect(run('npm', ['run', '--silent', 'prepare'], source)).toMatch(/not built.*npm run build/);
  symlinkSync(realpathSync(join(root, 'node_modules')), join(source, 'node_modules'));
  const [packed] = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', folder], source)) as [
    { filename: string; size: number; files: { path: string; mode: number }[] },
  ];
  const files = packed.files.map(({ path }) => path);
  expect(files.sort()).toEqual(
    [
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      // The pages that messages and README name.
      ...readdirSync(join(root, 'docs')).flatMap((name) => (name.endsWith('.md') ? [`docs/${name}`] : [])),
      'deploy/README.md',
      'deploy/autogit-node.service',
      'deploy/grafana/autogit-node.json',
      'deploy/prometheus/autogit-node.rules.yml',
      'deploy/prometheus/prometheus.yml',
      'dist/THIRD-PARTY.txt',
      'dist/agent.cjs',
      'dist/agent.cjs.map',
      'dist/autogit-node.cjs',
      'dist/forward.cjs',
      'dist/gate.cjs',
      'dist/metrics.cjs',
      ...['icon.svg', 'index.html', 'page.css', 'page.js'].flatMap((name) =>
        ['', '.br', '.gz'].map((ending) => `dist/page/${name}${ending}`),
      ),
      'dist/notices.cjs',
      'dist/practice.cjs',
      'dist/runbook.md',
      'dist/sbom.cdx.json',
      'dist/watchdog.cjs',
      'package.json',
    ].sort(),
  );
  expect(packed.files.find(({ path }) => path === 'dist/autogit-node.cjs')?.mode).toBe(0o755);
  // npx downloads it before it can say anything; 2.03 MB since the practice GitLab is a file of its own, with RE2, 0.14 for the page, 0.05 for metrics with runbook and dashboard, 0.27 for mail and MQTT, and 0.16 for the pages of docs.
  expect(packed.size).toBeLessThan(2_810_000);
  const said = spawnSync('npm', ['publish', '--dry-run', `./${packed.filename}`], { cwd: folder, encoding: 'utf8' });
  const warnings = said.stderr.split('\n').filter((line) => /^npm (?:warn|error)/.test(line));
  expect([said.status, warnings.filter((line) => !line.includes('requires you to be logged in'))]).toEqual([0, []]);
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

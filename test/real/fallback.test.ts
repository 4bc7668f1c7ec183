import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import setUpBundle from '../e2e/bundle.ts';
import { asRoot, TestMachine, until } from '../e2e/rig.ts';
import { OrdinaryRunner } from '../fixtures/ordinary-runner.ts';
import { api, practice, project, statuses } from '../practice/rig.ts';

const dir = mkdtempSync(join(tmpdir(), 'autogit-fallback-'));
const machine = new TestMachine('one', join(dir, 'home'), null, { AUTOGIT_MDNS: 'off' });
let ordinary: OrdinaryRunner | null = null;
beforeAll(setUpBundle);
afterEach(async () => {
  await ordinary?.quit();
  await machine.kill();
  rmSync(dir, { recursive: true, force: true });
});

const join_ = (): void =>
  machine.join('--new', 'lab', '--executor', 'process', ...asRoot, '--listen', '/ip4/127.0.0.1/tcp/0');
const joined = () => until('the mesh', async () => (await machine.status()).leader !== null);

it('the mesh off, an ordinary gitlab-runner takes the same jobs; the mesh on again beside it, none is done twice', async () => {
  const gitlab = await practice();
  // Each job says that it ran, once.
  const marks = join(dir, 'marks');
  const jobs = ['a', 'b', 'c', 'd'].map((name) => {
    const tags = name < 'c' ? '' : ', tags: [cpu-1]';
    const slowly = name === 'd' ? `'sleep $(( \${SLOW:-0} ))', ` : '';
    return `${name}: {script: [${slowly}'echo $CI_JOB_ID >> ${marks}-$CI_PIPELINE_ID-$CI_JOB_NAME']${tags}}`;
  });
  join_();
  await joined();
  const { code, stderr } = await machine.cli('fallback');
  expect([code, stderr]).toEqual([1, expect.stringContaining('error: the agent runs here')]);
  expect(stderr).toMatch(/fix: pause first.* then: autogit-node .*leave/s);
  process.env.FALLBACK_TOKEN = gitlab.adminToken;
  await machine.cli('gitlab', 'connect', gitlab.url, '--token-env', 'FALLBACK_TOKEN');
  const id = await project(gitlab, `${jobs.join('\n')}\n`);
  const isDone = () => until('the pipeline', async () => (await statuses(gitlab, id)).pipeline === 'success', 120_000);
  await isDone();

  await machine.cli('leave');
  await until('the agent ended', () => machine.process?.exitCode !== null);
  const written = JSON.parse((await machine.cli('fallback', '--json')).stdout) as { config: string; takes: string[][] };
  expect(written.takes).toEqual([[], ['cpu-1']]);
  expect([statSync(written.config).mode & 0o777, statSync(join(written.config, '..')).mode & 0o777]).toEqual([
    0o600, 0o700,
  ]);
  const again = (...variables: { key: string; value: string }[]) =>
    api(gitlab, 'POST', `/projects/${id}/pipeline`, { ref: 'main', variables });
  const second = (await again({ key: 'SLOW', value: '5' })).json.id;
  ordinary = new OrdinaryRunner(written.config);
  ordinary.start();
  // The slow job is under way at the ordinary runner while the mesh comes back.
  await until('its last job runs', () =>
    gitlab.jobsOf(second).some(({ name, status }) => name === 'd' && status === 'running'),
  );
  join_();
  await joined();
  expect(machine.output).toContain("a gitlab-runner's config for the mesh's jobs lies in");
  await isDone();
  expect(ordinary.taken).toHaveLength(4);

  // Both ask: GitLab gives each job to one of them.
  const third = (await again()).json.id;
  await isDone();
  const made = [1, second, third].flatMap((pipeline) => gitlab.jobsOf(pipeline));
  expect(made.map(({ retried, status }) => [retried, status])).toEqual(Array(12).fill([false, 'success']));
  const lines = readdirSync(dir).filter((name) => name.startsWith('marks-'));
  expect(lines.map((name) => readFileSync(join(dir, name), 'utf8').trim().split('\n').length)).toEqual(
    Array(12).fill(1),
  );

  const ended = await machine.cli('fallback', '--end');
  expect([ended.code, ended.stdout]).toEqual([0, expect.stringContaining('are gone')]);
  expect(() => statSync(written.config)).toThrow('ENOENT');
  expect((await machine.cli('fallback', '--end')).stderr).toContain('no fall-back was prepared');
  expect((await machine.cli('leave')).code).toBe(0);
  await until('the agent ended', () => machine.process?.exitCode !== null);
  const out = join(dir, 'own');
  expect((await machine.cli('fallback', '--out', out)).stderr).toMatch(`fallback --end --out ${out}`);
  // An agent that begins twice, twelve jobs and ten commands: a minute on a machine that does other things too.
}, 300_000);

it("a gitlab-runner's own config is never overwritten", async () => {
  const { writeFallback } = await import('../../node/fallback/fallback-files.ts');
  const folder = mkdtempSync(join(tmpdir(), 'autogit-fallback-own-'));
  try {
    writeFileSync(join(folder, 'config.toml'), 'concurrent = 1\n');
    expect(() => writeFallback(folder, 'me', 'x')).toThrow(/is a gitlab-runner's own, and stays/);
    expect(readFileSync(join(folder, 'config.toml'), 'utf8')).toBe('concurrent = 1\n');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer as createWeb } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exposition } from '../../node/metrics/exposition.ts';
import { seenOf } from '../unit/metrics-lab.ts';
import { formMesh } from './mesh.ts';
import { asRoot, Rig, type TestMachine, until } from './rig.ts';

/** A real Prometheus (Debian) that scrapes a real agent, with the files of deploy/ as they are shipped. */
const deploy = fileURLToPath(new URL('../../deploy', import.meta.url));
const rig = new Rig();
const patienceMs = 90_000;
let kang: TestMachine;
let prometheus: ChildProcess;
let said = '';
let key = { key: '', url: '' };
let base = '';
let project = 0;
/** An agent of a mesh that hosts its GitLab, with copies, backups and drills; away until a test wants it. */
let isHosted = false;
const hosting = createWeb((_request, response) => {
  if (!isHosted) response.writeHead(503).end();
  else void exposition(seenOf()).then((text) => response.writeHead(200, { 'content-type': 'text/plain' }).end(text));
});

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

async function asked<T>(path: string): Promise<T> {
  const answer = await fetch(`${base}${path}`);
  const { status, data } = (await answer.json()) as { status: string; data: T };
  if (status !== 'success') throw new Error(`${path}: ${answer.status}`);
  return data;
}

/** The samples of an expression, as Prometheus writes them: `1.5`, `+Inf`, `NaN`. */
async function values(expr: string): Promise<string[]> {
  const { result } = await asked<{ result: { value: [number, string] }[] }>(
    `/api/v1/query?query=${encodeURIComponent(expr)}`,
  );
  return result.map(({ value: [, text] }) => text);
}

/** The value of an expression of one sample; null while there is none. */
async function value(expr: string): Promise<number | null> {
  const [text] = await values(expr);
  return text === undefined ? null : Number(text);
}

beforeAll(async () => {
  const gitlab = rig.practice();
  await gitlab.start();
  const env = { kang: { AUTOGIT_PLAY_GPU: 'RTX 3090 Ti:24g' } };
  [kang] = (await formMesh(rig, ['kang'], { env })) as [TestMachine];
  kang.env.TOKEN = gitlab.token;
  const connected = await kang.cli('gitlab', 'connect', gitlab.url, '--token-env', 'TOKEN', '--yes');
  expect(connected.code, connected.stderr).toBe(0);
  project = await gitlab.push('scraped', { '.gitlab-ci.yml': 'hello:\n  script: [echo hello]\n' });
  await until('the job is done', async () => (await kang.jobs()).some(({ state }) => state === 'done'), patienceMs);
  key = JSON.parse((await kang.cli('dashboard', 'key', '--name', 'prometheus', '--json')).stdout) as typeof key;
  const folder = join(rig.dir, 'prometheus');
  mkdirSync(folder);
  const config = readFileSync(join(deploy, 'prometheus/prometheus.yml'), 'utf8')
    .replace('127.0.0.1:7118', new URL(key.url).host)
    .replace('scrape_interval: 15s', 'scrape_interval: 1s\n  evaluation_interval: 1s');
  await new Promise((resolve) => hosting.listen(0, '127.0.0.1', () => resolve(null)));
  const place = `127.0.0.1:${(hosting.address() as AddressInfo).port}`;
  const more = `\n  - job_name: hosting\n    static_configs:\n      - targets: ['${place}']\n`;
  writeFileSync(join(folder, 'prometheus.yml'), config.trimEnd() + more);
  writeFileSync(join(folder, 'autogit-node.key'), key.key);
  copyFileSync(join(deploy, 'prometheus/autogit-node.rules.yml'), join(folder, 'autogit-node.rules.yml'));
  const port = await freePort();
  base = `http://127.0.0.1:${port}`;
  const args = [`--config.file=${join(folder, 'prometheus.yml')}`, `--storage.tsdb.path=${join(folder, 'data')}`];
  prometheus = spawn('prometheus', [...args, `--web.listen-address=127.0.0.1:${port}`], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [prometheus.stdout, prometheus.stderr]) stream?.on('data', (text) => (said += text));
}, 240_000);

afterAll(async () => {
  if (prometheus && prometheus.exitCode === null) {
    const gone = new Promise((resolve) => prometheus.once('exit', resolve));
    prometheus.kill('SIGKILL');
    await gone;
  }
  await rig.clean();
  hosting.closeAllConnections();
  hosting.close();
});

describe('a Prometheus', () => {
  it('scrapes the agent by its key, and knows what it did', async () => {
    try {
      await until('the agent is up', async () => (await value('up{job="autogit-node"}')) === 1, patienceMs);
    } catch (error) {
      throw new Error(said, { cause: error });
    }
    for (const one of ['autogit_has_leader', 'autogit_machine_up{node="kang"}', 'autogit_gitlab_up'])
      await until(`${one} is 1`, async () => (await value(one)) === 1, patienceMs);
    expect(await value('autogit_runs_finished_total{end="success"}')).toBe(1);
    expect(await value('autogit_sandboxes_total{executor="process",outcome="made"}')).toBe(1);
    expect(await value('autogit_job_queue_seconds_count')).toBe(1);
    expect(await value('autogit_run_seconds_count')).toBe(1);
    expect(await value('autogit_gitlab_requests_total{code="2xx"}')).toBeGreaterThan(3);
    expect(await value('autogit_gitlab_requests_total{code="none"}')).not.toBeNull();
    expect(await value('autogit_gitlab_request_seconds_count')).toBeGreaterThan(3);
    expect(await value('autogit_ledger_commit_seconds_count')).toBeGreaterThan(1);
    expect(await value('autogit_store_write_seconds_count')).toBeGreaterThan(1);
    expect(await value('autogit_machine_memory_used_bytes / autogit_machine_memory_bytes')).toBeLessThan(1);
  });

  it('knows each metric that the alerts and the dashboard use, and can work out each of them', async () => {
    const known = new Set(Object.keys(await asked<object>('/api/v1/metadata')));
    const texts = ['prometheus/autogit-node.rules.yml', 'grafana/autogit-node.json'].map((file) =>
      readFileSync(join(deploy, file), 'utf8'),
    );
    const used = texts.flatMap((text) => text.match(/\b(?:autogit|process)_[a-z_]+\b/g) ?? []);
    const bare = (name: string): string => name.replace(/_(bucket|sum|count)$/, '');
    expect(new Set(used).size).toBeGreaterThan(40);
    expect([...new Set(used)].filter((name) => !known.has(name) && !known.has(bare(name)))).toEqual([]);
    interface Rules {
      groups: { rules: { name: string; health: string; lastError?: string }[] }[];
    }
    const rules = await until(
      'all rules were worked out',
      async () => {
        const all = (await asked<Rules>('/api/v1/rules')).groups.flatMap((group) => group.rules);
        return all.length > 0 && all.every(({ health }) => health !== 'unknown') ? all : null;
      },
      patienceMs,
    );
    expect(rules.filter(({ health }) => health !== 'ok')).toEqual([]);
  });

  it('has something for each panel of the dashboard: of a mesh that lives, and of one that hosts its GitLab', async () => {
    const { panels } = JSON.parse(readFileSync(join(deploy, 'grafana/autogit-node.json'), 'utf8')) as {
      panels: { title: string; targets?: { expr: string }[] }[];
    };
    const queries = panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })));
    expect(queries.length).toBeGreaterThan(35);
    /** Queries without a sample, or with none that is a number. */
    const empty = async (): Promise<string[]> => {
      const found = await Promise.all(queries.map(async ({ expr }) => ({ expr, all: await values(expr) })));
      return found.flatMap(({ expr, all }) => (all.every((one) => one === 'NaN') ? [expr] : []));
    };
    // What is worked out of how much grew needs something that grows while it is scraped.
    await rig.gitlab!.runPipeline(project);
    const ofHosted = /gitlab_(copy_age|loss|last_backup|drill_proven|host)/;
    let left = await empty();
    for (const end = Date.now() + patienceMs; left.some((expr) => !ofHosted.test(expr)) && Date.now() < end; )
      left = await new Promise((resolve) => setTimeout(() => void empty().then(resolve), 500));
    expect(left).toEqual(queries.map(({ expr }) => expr).filter((expr) => ofHosted.test(expr)));
    isHosted = true;
    try {
      await until('each query has data', async () => (await empty()).length === 0, patienceMs);
    } catch (error) {
      throw new Error((await empty()).join('\n'), { cause: error });
    } finally {
      isHosted = false;
    }
  });
});

describe('who asks', () => {
  it('gets nothing without a key, and the runbook all the same', async () => {
    const bare = await fetch(`${key.url}/metrics`);
    expect([bare.status, (await bare.text()).includes('autogit_')]).toEqual([401, false]);
    const entry = await fetch(`${key.url}/runbook/autogitnoleader`);
    expect([entry.status, entry.headers.get('content-type')]).toEqual([200, 'text/plain; charset=utf-8']);
    expect(await entry.text()).toMatch(/^### AutogitNoLeader\n\*\*Means\*\*/);
    expect((await fetch(`${key.url}/runbook/nothing-of-ours`)).status).toBe(404);
  });

  it('at the terminal gets the same, as promtool takes it', async () => {
    const { stdout } = await kang.cli('metrics');
    const types = (text: string): string[] => text.match(/^# TYPE .*$/gm) ?? [];
    const headers = { authorization: `Bearer ${key.key}` };
    const answer = await fetch(`${key.url}/metrics`, { headers });
    expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(types(stdout).length).toBeGreaterThan(70);
    expect(types(stdout)).toEqual(types(await answer.text()));
    const checked = spawnSync('promtool', ['check', 'metrics'], { input: stdout, encoding: 'utf8' });
    expect([checked.status, checked.stdout + checked.stderr]).toEqual([0, '']);
  });

  it('a machine that waits to be let in tells what its agent is, and nothing of a mesh', async () => {
    const peer = (await kang.status()).nodes.find(({ self }) => self)?.address as string;
    const laptop = rig.machine('laptop');
    laptop.join('--executor', 'process', ...asRoot, '--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns', '--peer', peer);
    const waits = async () => (await kang.status()).waiting.some(({ node }) => node === 'laptop');
    await until('laptop waits to be let in', waits, patienceMs);
    const { stdout } = await laptop.cli('metrics');
    expect(stdout).toMatch(/^autogit_joined 0$/m);
    expect(stdout).toMatch(/^autogit_build_info\{/m);
    expect(stdout).not.toMatch(/kang|autogit_has_leader/);
    await until(
      'Prometheus knows that one waits',
      async () => (await value('autogit_machines_waiting')) === 1,
      patienceMs,
    );
    await laptop.kill();
  });

  it('what an alert means, by name, or of what status shows now', async () => {
    expect((await kang.cli('runbook', 'AutogitRunsLost')).stdout).toMatch(/^### AutogitRunsLost\n\*\*Means\*\*/);
    const unknown = await kang.cli('runbook', 'nothing-of-ours');
    expect([unknown.code, unknown.stderr]).toEqual([
      2,
      expect.stringMatching(/no entry "nothing-of-ours"\nfix: .*autogit-node .*runbook list\n/),
    ]);
    const { attention } = await kang.status();
    const { stdout } = await kang.cli('runbook');
    for (const { code } of attention) expect(stdout).toContain(`### ${code.replace(/^act-.*/, 'act')}\n`);
  });
});
